"""The project's Markdown as tests read it: blocks and what stands above them, headings, links, code in the text."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
COMMENT = re.compile(r"<!--\s*(?P<word>[a-z ]+?)\s*(?::\s*(?P<text>.*?)\s*)?-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block, and the marks in the comments directly above it: `<!-- exit: 3 -->` is {"exit": "3"}."""

    document: str  # path from the repository's root
    line: int
    language: str  # empty where the fence names none
    code: str
    marks: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


@cache
def documents() -> tuple[str, ...]:
    """Every Markdown file of the repository, committed or about to be, by its path from the root."""
    if shutil.which("git") and (ROOT / ".git").exists():
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
        done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return tuple(sorted(name for name in set(done.stdout.split("\n")) if name and (ROOT / name).exists()))
    found = []
    for folder, inner, files in os.walk(ROOT):  # an archive, or no git
        inner[:] = [name for name in inner if not name.startswith(".") and name not in ("build", "node_modules")]
        found += [str(Path(folder, name).relative_to(ROOT)) for name in files if name.endswith(".md")]
    return tuple(sorted(found))


@cache
def _tokens(document: str) -> tuple[Token, ...]:
    return tuple(MarkdownIt("commonmark").enable("table").parse((ROOT / document).read_text()))


def blocks(document: str) -> list[Block]:
    """The fenced blocks of a document, in order."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    for token in _tokens(document):
        if token.type == "fence":
            line = token.map[0] + 1 if token.map else 0
            found.append(Block(document, line, token.info.strip(), token.content, marks))
        if token.type != "html_block":
            marks = {}
            continue
        marks = marks | {comment["word"]: comment["text"] or "" for comment in COMMENT.finditer(token.content)}
    return found


def spans(document: str) -> list[str]:
    """What stands as `code` in the text, tables and headings."""
    return [child.content for child in _inline(document) if child.type == "code_inline"]


def links(document: str) -> list[str]:
    """Where the document's links and pictures lead."""
    places = [(child.attrGet("href"), child.attrGet("src")) for child in _inline(document)]
    return [str(place) for pair in places for place in pair if place]


def anchors(document: str) -> set[str]:
    """The names that GitHub gives to the headings: small letters, hyphens for spaces, no other signs."""
    names: list[str] = []
    tokens = _tokens(document)
    for place, token in enumerate(tokens):
        if token.type == "heading_open":
            title = "".join(child.content for child in tokens[place + 1].children or ())
            name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            names.append(f"{name}-{names.count(name)}" if name in names else name)
    return set(names)


def _inline(document: str) -> Iterator[Token]:
    for token in _tokens(document):
        yield from token.children or ()
