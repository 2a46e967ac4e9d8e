"""A family is known by its capabilities: nobody but its own modules calls it by its name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from liftos.bayes.v1 import model_pb2

ROOT = Path(__file__).parents[2]
MEMBERS = {field.name for field in model_pb2.ModelSpec.DESCRIPTOR.oneofs_by_name["family"].fields} - {"custom"}
NAMES = re.compile("|".join(name.replace("_", "_?") for name in MEMBERS), re.IGNORECASE)
OF = "|".join(name.partition("_")[0] for name in MEMBERS)
"""The first word of a family's name, with which the names of its own modules begin."""
OWN = re.compile(
    rf"engine/(models|rules)/({OF})_\w+\.py"
    rf"|server/contract/families/({OF})_specification\.py"
    rf"|server/worker/fitting/families/({OF})_preparation\.py"
)
"""The families' own modules: the mathematics, and the two halves that join them to the contract."""


def modules() -> Iterator[tuple[str, str]]:
    """Path and text of every module of the service; the client has methods for the families that the contract names."""
    for package in ("engine", "server", "persistence"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text()


def test_nobody_else_names_a_family() -> None:
    named = {path for path, text in modules() if NAMES.search(text)}
    assert any(OWN.fullmatch(path) for path in named)
    assert {path for path in named if not OWN.fullmatch(path)} == set()


def test_nobody_else_imports_from_a_familys_modules() -> None:
    """Not even by a name that says nothing: of `engine.models` the rest imports what every family shares."""
    importing = set()
    for path, text in modules():
        for node in ast.walk(ast.parse(text)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if any(re.match(rf"(engine\.\w+\.)?({OF})_(?!specification|preparation)", n) for n in names):
                importing.add(path)
    assert any(OWN.fullmatch(path) for path in importing)
    assert {path for path in importing if not OWN.fullmatch(path)} == set()
