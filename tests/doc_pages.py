"""The code blocks of README.md and docs/*.md, in their order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

_FENCED = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^|(?<=\n\n))(?: {4}[^\n]*(?:\n|\Z)(?:\n(?= {4}))?)+")
_COMMANDS = ("swathe", "make", "pip", "mkdir", "cp", "curl", "cd")


@dataclass(frozen=True)
class Block:
    """A code block; `language` is what stands behind the fence, `number` counts from 0 on its page."""

    page: str
    number: int
    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.strip().partition("\n")[0]

    def __str__(self) -> str:
        return f"{Path(self.page).stem}-{self.number}"


def find_pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def find_blocks(page: Path) -> list[Block]:
    """Fenced blocks, and indented ones, which are commands if they begin with one."""
    text = page.read_text("utf-8")
    found = [(match.start(), match[1].strip(), match[2]) for match in _FENCED.finditer(text)]
    blank = _FENCED.sub(lambda match: re.sub(r"[^\n]", "x", match[0]), text)
    for match in _INDENTED.finditer(blank):
        lines = [line.removeprefix("    ") for line in match[0].splitlines()]
        language = "sh" if lines[0].split()[0] in _COMMANDS else "text"
        found.append((match.start(), language, "\n".join(lines) + "\n"))
    name = page.relative_to(ROOT).as_posix()
    return [Block(name, number, language, text) for number, (_, language, text) in enumerate(sorted(found))]


def all_blocks() -> list[Block]:
    return [block for page in find_pages() for block in find_blocks(page)]
