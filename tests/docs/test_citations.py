"""Every place in a method note that code, tests or docs cite exists, and so does everything that a page links to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTES = ROOT / "docs" / "methods"
CODE = ("engine", "server", "persistence", "clients", "protos", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "clients" / "python" / "README.md"])

# "methods/sbc.md §4-§6", "methods/conflict.md §3 F, §4.2", "methods/conflict.md §14 ids 1 and 2"; in a page also as a
# link, "[sbc.md](sbc.md) §4".
_PLACE = r"§(\d+(?:\.\d+)?)(?: ([A-Z])\b)?(?: ids? (\d+(?:(?:, | and )\d+)*))?"
_CITATION = re.compile(rf"([\w./-]+\.md)[`)]* ({_PLACE}(?:(?:, | and |-){_PLACE})*)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:engine|server|persistence|clients|protos|tests|examples|docs)/[\w./-]+)`")
_SECTION = re.compile(r"^#+ §([\d.]+)", re.MULTILINE)


@dataclass(frozen=True)
class Citation:
    """A place of a note, as it is cited in a file: section, lettered part and row of its table, "" where not named."""

    file: str
    note: str
    section: str
    letter: str = ""
    row: str = ""


def citations(file: str, text: str) -> Iterator[Citation]:
    """The citations of a text; one that is broken over two lines of a comment counts like any other."""
    for found in _CITATION.finditer(re.sub(r"\n[ \t]*(?:#|//)?[ \t]*", " ", text)):
        for section, letter, rows in re.findall(_PLACE, found[2]):
            for row in re.findall(r"\d+", rows) or [""]:
                yield Citation(file, found[1], section, letter, row)


def every_citation() -> list[Citation]:
    sources = [path for folder in CODE for kind in ("py", "proto") for path in ROOT.glob(f"{folder}/**/*.{kind}")]
    here = [Path(__file__)]
    files = [path for path in sources if not path.stem.endswith(("_pb2", "_pb2_grpc")) and path not in here] + PAGES
    return [one for path in files for one in citations(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))]


@cache
def sections(note: Path) -> dict[str, str]:
    """The text of every numbered section of a note, that of its subsections included."""
    text = note.read_text(encoding="utf-8")
    parts = _SECTION.split(text)
    own = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {
        number: "".join(body for other, body in own.items() if f"{other}.".startswith(f"{number}.")) for number in own
    }


def missing(citation: Citation) -> str:
    """What is wrong with a citation; nothing where its place exists."""
    if citation.file.startswith("docs/methods/"):
        note = NOTES / citation.note.removeprefix("methods/")
    elif (name := citation.note.removeprefix("../")).startswith("methods/"):
        note = ROOT / "docs" / name
    else:
        return f"{citation}: say methods/{Path(citation.note).name}, docs/{Path(citation.note).name} is another page"
    if not note.is_file():
        return f"{citation}: there is no docs/methods/{note.name}"
    body = sections(note).get(citation.section)
    if body is None:
        return f"{citation}: the note has no such section"
    if citation.letter and f"\n### {citation.letter}. " not in body:
        return f"{citation}: the section has no part of this letter"
    if citation.row and f"\n| {citation.row} |" not in body:
        return f"{citation}: the section's table has no such row"
    return ""


def test_every_cited_place_of_a_method_note_exists() -> None:
    found = every_citation()
    assert len(found) > 150
    assert [told for one in found if (told := missing(one))] == []


@pytest.mark.parametrize("note", sorted(NOTES.glob("*.md")), ids=lambda note: note.name)
def test_a_note_refers_to_its_own_sections_only(note: Path) -> None:
    own = _CITATION.sub("", note.read_text(encoding="utf-8"))
    referred = [Citation(f"docs/methods/{note.name}", note.name, *found) for found in re.findall(_PLACE, own)]
    assert [told for one in referred if (told := missing(one))] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# methods/sbc.md §4-§6.", [("4", "", ""), ("6", "", "")]),
        ("(methods/conflict.md §3 F, §4.2).", [("3", "F", ""), ("4.2", "", "")]),
        ("methods/conflict.md §14 ids 1 and 2", [("14", "", "1"), ("14", "", "2")]),
        ("# see methods/mmm.md\n    # §3.3", [("3.3", "", "")]),
    ],
)
def test_citations_are_read_in_all_forms_that_are_in_use(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert [(one.section, one.letter, one.row) for one in citations("x.py", text)] == expected


@pytest.mark.parametrize(
    "citation",
    [
        Citation("x.py", "conflict.md", "7"),
        Citation("x.py", "methods/nothing.md", "7"),
        Citation("x.py", "methods/conflict.md", "99"),
        Citation("x.py", "methods/conflict.md", "3", "Z"),
        Citation("x.py", "methods/conflict.md", "14", "", "99"),
    ],
)
def test_a_citation_of_what_is_not_there_is_told(citation: Citation) -> None:
    assert missing(citation).startswith(str(citation))


def _anchors(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    dead = []
    for target in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        if not linked.exists() or (anchor and anchor not in _anchors(linked)):
            dead.append(target)
    assert dead == []


# The change log tells of what was there.
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_every_file_and_folder_that_a_page_names_exists(page: Path) -> None:
    named = _PATH.findall(page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []
