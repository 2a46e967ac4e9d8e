"""The configuration's defaults and limits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from server.settings import MAX_DEFAULT_WORKERS, Settings, UnknownVariable


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


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("LIFTOS_BAYES_WORKRES", "did you mean LIFTOS_BAYES_WORKERS?"),
        ("liftos_bayes_leaseseconds", "did you mean LIFTOS_BAYES_LEASE_SECONDS?"),
        ("LIFTOS_BAYES_X", "CLIENT, COLOUR, COMPILATION_CACHE_DIR,"),
    ],
)
def test_a_variable_that_nobody_reads_is_an_error_that_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, variable: str, hint: str
) -> None:
    monkeypatch.setenv(variable, "a secret")
    with pytest.raises(UnknownVariable, match=f"^{variable} is not a setting") as raised:
        Settings()
    assert hint in str(raised.value)
    assert "secret" not in str(raised.value)


def test_every_setting_can_be_given_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in Settings().model_dump(mode="json").items():
        monkeypatch.setenv(f"LIFTOS_BAYES_{name.upper()}", json.dumps(value) if name == "warm_up" else str(value))
    assert Settings() == Settings(_env_prefix="NOT_GIVEN_")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "variable",
    [
        "LIFTOS_BAYES_CLIENT",
        "LIFTOS_BAYES_LIFELINE",
        "LIFTOS_BAYES_SERVICE_HOST",
        "LIFTOS_BAYES_SERVICE_PORT_GRPC",
        "LIFTOS_BAYES_PORT",
        "LIFTOS_BAYES_SERVER_PORT_50051_TCP_ADDR",
    ],
)
def test_variables_of_the_command_and_of_kubernetes_are_not_taken_for_settings(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    before = Settings()
    monkeypatch.setenv(variable, "1")
    assert Settings() == before
