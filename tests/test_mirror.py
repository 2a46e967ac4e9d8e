"""Tests lie where the modules lie that they test, so that who changes a module finds them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = {
    "engine": "engine",
    "persistence": "persistence",
    "server": "server",
    "clients/python": "clients/python/src/liftos/bayes",
    "clients": "clients",
}
"""Folders of tests and the folders that they mirror."""
ROOMS = ("bench", "docs", "end_to_end", "families", "protos")
"""Folders of tests that are about no module: what they are about is their name."""
TOPICS = {
    # what a whole package promises, by simulation or against another implementation
    "engine/conflict/test_calibration.py",
    "engine/conflict/test_causes_simulated.py",
    "engine/conflict/test_estimators.py",
    "engine/conflict/test_invariance.py",
    "engine/elicitation/test_against_preliz.py",
    "engine/inference/test_against_nuts.py",
    "engine/inference/test_posteriordb.py",
    "engine/inference/test_reference.py",
    "engine/sbc/test_cases.py",
    "engine/sbc/test_conjugate_model.py",
    "engine/sbc/test_error_rates.py",
    "engine/sbc/test_production_sampler.py",
    "engine/sbc/test_seeded_errors.py",
    "engine/updates/test_update_invariants.py",
    # a part of a module that is large enough for a file of its own
    "engine/models/test_additive_defaults.py",
    "engine/models/test_additive_derived.py",
    "engine/models/test_additive_mmm_geo.py",
    "server/command/test_printing_update.py",
    # several modules at once
    "clients/python/test_package.py",
    "engine/test_enums.py",
    "server/test_enums.py",
    "server/test_layers.py",
    "test_mirror.py",
}
"""Test files that no module has the name of, each for a reason; a new one needs one."""


def files() -> list[Path]:
    """Every test file outside the rooms, relative to tests."""
    every = (path.relative_to(ROOT / "tests") for path in (ROOT / "tests").glob("**/test_*.py"))
    return sorted(path for path in every if path.parts[0] not in ROOMS)


def module_of(test: Path) -> Path | None:
    """The module, or package, whose test the file is by its place and name, if there is one."""
    for folder, mirrored in CODE.items():
        if test.is_relative_to(folder):
            inside = test.relative_to(folder)
            module = ROOT / mirrored / inside.with_name(inside.name.removeprefix("test_"))
            for found in (module, module.with_suffix("") / "__init__.py"):
                if found.exists():
                    return found
    return None


def test_every_test_file_mirrors_a_module_or_is_listed_with_its_topic() -> None:
    assert [str(test) for test in files() if module_of(test) is None and str(test) not in TOPICS] == []


def test_the_list_of_topics_holds_only_files_that_are_there_and_mirror_nothing() -> None:
    without = {str(test) for test in files() if module_of(test) is None}
    assert sorted(TOPICS - without) == []


def test_a_moved_module_leaves_its_test_behind_where_this_finds_it() -> None:
    assert module_of(Path("engine/sbc/test_verdict.py")) == ROOT / "engine/sbc/verdict.py"
    assert module_of(Path("engine/test_verdict.py")) is None
