"""The client as a package: light, typed, and one of several below `liftos`."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import liftos.bayes
import pytest
from liftos.bayes import aio, client

from tests.protos.test_contract import METHODS

SOURCE = Path(__file__).parents[3] / "clients" / "python" / "src" / "liftos"
HEAVY = ("numpy", "jax", "scipy", "sqlalchemy", "grpc_status", "server", "engine", "persistence")


def test_the_client_imports_nothing_heavy() -> None:
    code = f"import sys, liftos.bayes; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_liftos_is_a_namespace_that_other_packages_share() -> None:
    assert not (SOURCE / "__init__.py").exists()
    assert (SOURCE / "bayes" / "py.typed").exists()


def test_what_is_exported_exists() -> None:
    assert len(set(liftos.bayes.__all__)) == len(liftos.bayes.__all__)
    for name in liftos.bayes.__all__:
        assert hasattr(liftos.bayes, name)


def _methods(of: Any) -> dict[str, list[tuple[str, Any, Any]]]:
    """Public methods with their parameters: name, default and kind."""
    return {
        name: [(p.name, p.default, p.kind) for p in inspect.signature(member).parameters.values()]
        for name, member in inspect.getmembers(of, callable)
        if not name.startswith("_")
    }


NAMESPACES = ("Datasets", "Models", "Elicitation", "Conflicts", "Sbc", "Updates", "Attribution", "System")


@pytest.mark.parametrize("name", [*NAMESPACES, "SbcRunHandle", "Client"])
def test_sync_and_async_have_the_same_methods(name: str) -> None:
    assert _methods(getattr(client, name)) == _methods(getattr(aio, f"Async{name}"))


def test_every_rpc_of_the_contract_is_a_call_of_the_client() -> None:
    """But for RunSbc, which is StartSbcRun with a stream, and ValidateModel, which is not there yet."""
    source = Path(aio.__file__).read_text()
    missing = {method.name for method in METHODS if not re.search(rf"\b{method.name}\b", source)}
    assert missing == {"RunSbc", "ValidateModel"}
