"""The command `liftos-bayes`.

What a command needs is imported when it runs, and a group with all of its commands: help stays quick, and a process is
free of what others need.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from liftos.bayes import LiftosBayesError
from pydantic import ValidationError
from sqlalchemy.exc import ArgumentError
from typer.core import TyperGroup
from typer.main import get_group

from persistence.errors import StorageError
from server import logs
from server.contract.errors import WrongSchema
from server.lifeline import follow_parent
from server.settings import Settings, UnknownVariable, settings_with

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Bayesian validation of marketing-mix models.")


def _group(name: str, module: str, help_text: str) -> None:
    """Add the group whose commands lie in `module`, which is imported only when they are asked for."""

    class Group(TyperGroup):
        def _load(self) -> None:
            if not self.commands:
                self.commands = get_group(importlib.import_module(module).app).commands

        def list_commands(self, ctx: Any) -> list[str]:
            self._load()
            return super().list_commands(ctx)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            self._load()
            return super().get_command(ctx, cmd_name)

    app.add_typer(typer.Typer(cls=Group, no_args_is_help=True, help=help_text), name=name)


_group("show", "server.command.show_commands", "Read stored results again.")
_group("sbc", "server.command.sbc_commands", "Calibration runs on a running server.")
_group("outcome", "server.command.outcome_commands", "How conflicts were resolved in the end.")

DataDir = Annotated[Path | None, typer.Option(help="Directory of the embedded Postgres.")]


def _need_database(settings: Settings) -> None:
    if not settings.database_url:
        raise typer.BadParameter("set LIFTOS_BAYES_DATABASE_URL, or use `liftos-bayes serve` for an embedded database")


@app.command()
def serve(
    data_dir: DataDir = None, listen: Annotated[str | None, typer.Option(help="Address of the gRPC server.")] = None
) -> None:
    """Run everything: Postgres (embedded unless a URL is set), server and workers."""
    from server.command.serve import serve as run

    settings = settings_with(data_dir=data_dir, listen=listen)
    logs.configure(settings.log_format)
    asyncio.run(run(settings))


@app.command()
def server(
    listen: Annotated[str | None, typer.Option(help="Address of the gRPC server.")] = None,
    address_file: Annotated[Path | None, typer.Option(help="File to write the address to once it serves.")] = None,
) -> None:
    """Run one server process on an existing, migrated database."""
    from server.rpc.app import run_server

    settings = settings_with(listen=listen)
    logs.configure(settings.log_format)
    _need_database(settings)
    follow_parent()

    def ready(port: int) -> None:
        address = f"{settings.listen.rpartition(':')[0]}:{port}"
        if address_file is not None:
            partial = address_file.with_suffix(".partial")
            partial.write_text(address)
            partial.rename(address_file)
        typer.echo(f"serving on {address}", err=True)

    asyncio.run(run_server(settings, ready))


@app.command()
def worker(
    queues: Annotated[
        list[str] | None, typer.Argument(help="Queues to work on: calls, shards; both by default.")
    ] = None,
) -> None:
    """Run one worker process on an existing, migrated database."""
    _need_database(Settings())
    # The worker imports JAX; executing it keeps this process, the command, free of it.
    os.execv(sys.executable, [sys.executable, "-m", "server.worker", *(queues or ["calls", "shards"])])


@app.command()
def warm_up() -> None:
    """Compile the programs of common models into the cache, so that first requests need not; needs no database."""
    os.execv(sys.executable, [sys.executable, "-m", "server.worker.fitting.warmup"])


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    from persistence import migrate as migrations

    settings = Settings()
    _need_database(settings)
    migrations.upgrade(settings.database_url)
    typer.echo("the schema is up to date")


@app.command()
def config() -> None:
    """Print the configuration, secrets left out."""
    values = Settings().model_dump(mode="json")
    if values["database_url"]:
        values["database_url"] = "(set)"
    typer.echo(json.dumps(values, indent=2, sort_keys=True))


@app.command()
def demo(
    data_dir: Annotated[Path, typer.Option(help="Directory for the demo's database.")] = Path(".demo"),
    simulations: Annotated[int, typer.Option(min=100, help="Simulations of the calibration run.")] = 200,
    data: Annotated[Path, typer.Option(help="The example data set.")] = Path("examples/pymc_mmm_example.csv"),
) -> None:
    """Play the main job on real data: beliefs, conflict, calibration, update, attribution."""
    from server.command.demo import run

    run(settings_with(data_dir=data_dir, listen="127.0.0.1:0"), data, simulations)


def main() -> None:
    """Entry point of the command; an error of the service is a sentence, not a traceback."""
    try:
        app()
    except (LiftosBayesError, StorageError, WrongSchema, ArgumentError, ValidationError, UnknownVariable) as error:
        cause = getattr(error.__cause__, "orig", error.__cause__)
        because = f" ({str(cause).splitlines()[0]})" if isinstance(error, StorageError) and cause else ""
        typer.echo(f"{type(error).__name__}: {error}{because}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
