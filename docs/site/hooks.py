"""What the site adds to the pages in ``docs/`` when it is built: help texts, and files that lie outside.

The pages are written to be read in the repository too, so their links are relative and may lead out of
``docs/``, to modules, tests and CONTRIBUTING. Such files become pages of the site, below ``source/``, and the
links lead there.
"""

import contextlib
import io
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
LONG_REMARK = re.compile(r"^(?=.{100})((?:clip2scene|python|make|pip) .*?) +(# .*)$", re.MULTILINE)
"""A command with a remark behind it that is too long for a page: the remark goes above it."""
LANGUAGES = {".py": "python", ".json": "json", ".c": "c", ".toml": "toml"}
OUTSIDE = "source"
HELP_OF = "commands.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each file of the repository that a page links to."""
    waiting = [(f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()]
    made: set[str] = set()
    while waiting:
        page, text = waiting.pop()
        for path in _linked(page, text):
            if path not in made and not path.startswith("docs/"):
                made.add(path)
                content = _page_of(path)
                if (ROOT / path).suffix == ".md":
                    waiting.append((path, content))
                files.append(File.generated(config, _place(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links out of ``docs/`` lead to their pages; put the help texts under the list of commands."""
    here = page.file.src_uri
    path = here.removeprefix(f"{OUTSIDE}/") if here.startswith(f"{OUTSIDE}/") else f"docs/{here}"

    def mended(match: re.Match[str]) -> str:
        target, anchor = match.group(1), match.group(2) or ""
        to = _resolve(path, target)
        if to is None:
            return match.group(0)
        place = to.removeprefix("docs/") if to.startswith("docs/") else _place(to)
        return posixpath.relpath(place, posixpath.dirname(here)) + anchor

    text = _outside_fences(markdown, lambda prose: LINK.sub(mended, prose))
    text = LONG_REMARK.sub(r"\2\n\1\n", text)
    return text + "\n".join(["", *_help_texts()]) if here == HELP_OF else text


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Take the roles of reStructuredText out of docstrings: a name alone is left."""
    return re.sub(r":\w+:<code>~?(?:[\w.]*\.)?(\w+)</code>", r"<code>\1</code>", html)


def _linked(page: str, text: str) -> Iterator[str]:
    """Give the files of the repository that a page links to, by their path in it."""
    found: list[str] = []

    def keep(prose: str) -> str:
        found.extend(match.group(1) for match in LINK.finditer(prose))
        return prose

    _outside_fences(text, keep)
    for target in found:
        path = _resolve(page, target)
        if path is not None:
            yield path


def _resolve(page: str, target: str) -> str | None:
    """Give the path in the repository that a page's link leads to; None for the web, or for nothing."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
    return None if ":" in target or not (ROOT / path).exists() else path


def _place(path: str) -> str:
    """Give the place in the site of a file of the repository."""
    return f"{OUTSIDE}/{path}" if path.endswith(".md") else f"{OUTSIDE}/{path}.md"


def _page_of(path: str) -> str:
    """Write the page of a file of the repository: itself, or its text, or the names that a folder holds."""
    file = ROOT / path
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
    if file.is_dir():
        return head + "\n".join(f"* `{each.name}`" for each in sorted(file.glob("[!_]*.py")))
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    fence = "`" * 6
    return f"{head}{fence}{LANGUAGES.get(file.suffix, 'text')}\n{text}\n{fence}\n"


def _outside_fences(text: str, change) -> str:  # noqa: ANN001
    """Change a page where it is prose, and leave its blocks of code."""
    parts = re.split(r"(^(`{3,})[^\n]*\n.*?^\2[ ]*$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if index % 3 else change(part) for index, part in enumerate(parts) if index % 3 != 2)


def _help_texts() -> Iterator[str]:
    """Ask every command what it says of itself."""
    from clip2scene import cli

    yield "\n## What each says of itself\n"
    for name in cli.COMMANDS:
        yield f"### `{name}`\n\n```text\n{_help_of(name).rstrip()}\n```\n"


def _help_of(*words: str) -> str:
    """Call a command with ``--help``, and return what it prints."""
    from clip2scene import cli

    plain = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, plain))
        stack.enter_context(mock.patch("sys.argv", ["clip2scene", *words, "--help"]))
        printed = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.suppress(SystemExit))
        cli.main()
    return printed.getvalue()
