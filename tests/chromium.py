"""The browser that looks at pages which the package makes."""

import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MARKS = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to look at the page with"),
    pytest.mark.filterwarnings("default"),  # of libraries that drive it, or serve the page
]
