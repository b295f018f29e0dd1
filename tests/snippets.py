"""What stands in fences in README and docs: the commands and programs that a reader would copy.

A page may say two things of its blocks. A line in front of a block that begins with ``*Not run here`` is for
readers: the block needs the network, a GPU or data that nobody has here, so it is parsed and no more. An HTML
comment ``<!-- test: ... -->`` is for the test that runs a tutorial: each of its lines names a command and the
options that are put behind it, to make it smaller.
"""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(
    r"(?P<before>[^\n]*)\n\s*^(?P<fence>`{3,})(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=fence)[ ]*$",
    re.MULTILINE | re.DOTALL,
)
SMALLER = re.compile(r"<!-- test:(.*?)-->", re.DOTALL)
SHELL = ("bash", "sh", "console", "shell")
PROGRAMS = ("clip2scene", "make", "pip", "python", "python3", "ssh", "torchrun")


@dataclass(frozen=True)
class Snippet:
    """A block of a page.

    Attributes:
        page: Path in the repository.
        line: Where it begins, as editors count.
        language: What is written behind the fence.
        text: Its lines.
        not_run: Whether the page says that it is not run here.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: bool

    def __str__(self):
        return f"{self.page}:{self.line}"

    @property
    def commands(self):
        """The words of each command, as a shell would give them to the program; none of other languages."""
        if self.language not in SHELL:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def pages():
    """All pages that users read, by their path in the repository."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [path.relative_to(ROOT).as_posix() for path in found]


def snippets(page):
    """The blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [
        Snippet(
            page,
            text.count("\n", 0, match.start("fence")) + 1,
            match["language"],
            match["text"],
            match["before"].lower().startswith("*not run here"),
        )
        for match in FENCE.finditer(text)
    ]


def smaller(page):
    """What the test of a page puts behind its commands, by the command's name."""
    found = SMALLER.findall((ROOT / page).read_text(encoding="utf-8"))
    rows = [shlex.split(line) for block in found for line in block.splitlines() if line.strip()]
    return {name: options for name, *options in rows}
