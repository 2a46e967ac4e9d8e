"""The options that say whose results a command is about and where they are: declared here, for every command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer
from liftos.bayes import Client

from server.command.connection import connected, opened
from server.settings import CLIENT, Settings, settings_with


@dataclass(frozen=True)
class Access:
    """What the options say."""

    client_id: str
    target: str = ""
    data_dir: Path | None = None

    @property
    def options(self) -> str:
        """The options that say it again."""
        where = f" --target {self.target}" if self.target else f" --data-dir {self.data_dir}" if self.data_dir else ""
        return f"--client {self.client_id}{where}"

    def stored(self) -> AbstractContextManager[Client]:
        """A connection for reading, with a server or without (see `opened`)."""
        return opened(self._settings(), self.target, self.client_id)

    def served(self) -> AbstractContextManager[Client]:
        """A connection to a server that has workers (see `connected`)."""
        return connected(self._settings(), self.target, self.client_id)

    def _settings(self) -> Settings:
        return settings_with(data_dir=self.data_dir)


def _declared(
    *,
    client: Annotated[str, typer.Option(envvar=CLIENT, help="Client whose results these are.")],
    target: Annotated[
        str, typer.Option(help="host:port of a running server; without it the data directory is opened.")
    ] = "",
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the embedded Postgres.")] = None,
) -> Access:
    return Access(client, target, data_dir)


def with_access(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose first parameter takes the `Access`, the options that it is made from in its place."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    shared = inspect.signature(_declared, eval_str=True).parameters

    @functools.wraps(command)
    def run(**values: Any) -> None:
        access = _declared(**{name: values.pop(name) for name in shared})
        command(access, **values)

    parameters: list[Parameter] = [*own, *shared.values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
