"""The configuration's defaults and limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from server.settings import MAX_DEFAULT_WORKERS, Settings


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORKERS", "WARM_UP", "DATA_DIR", "COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(f"LIFTOS_BAYES_{name}", raising=False)


def test_there_is_a_worker_for_every_core_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 1), (3, 3), (MAX_DEFAULT_WORKERS + 1, MAX_DEFAULT_WORKERS)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        assert Settings().workers == workers
    monkeypatch.setenv("LIFTOS_BAYES_WORKERS", "5")
    assert Settings().workers == 5


def test_the_machine_s_cores_count_where_a_process_cannot_be_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for cores, workers in ((4, 4), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert Settings().workers == workers


def test_what_is_compiled_in_advance_is_a_list_that_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().warm_up
    for given, read in (("[]", ()), ("[4, 2]", (4, 2))):
        monkeypatch.setenv("LIFTOS_BAYES_WARM_UP", given)
        assert Settings().warm_up == read
    monkeypatch.setenv("LIFTOS_BAYES_WARM_UP", "[0]")
    with pytest.raises(ValidationError):
        Settings()


def test_the_compilation_cache_is_in_the_data_directory_unless_another_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LIFTOS_BAYES_DATA_DIR", str(tmp_path / "data"))
    assert Settings().compilation_cache == tmp_path / "data" / "xla-cache"
    monkeypatch.setenv("LIFTOS_BAYES_COMPILATION_CACHE_DIR", str(tmp_path / "shared"))
    assert Settings().compilation_cache == tmp_path / "shared"
