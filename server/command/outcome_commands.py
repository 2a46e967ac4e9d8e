"""`liftos-bayes outcome`: how conflicts were resolved in the end."""

from __future__ import annotations

from functools import cache
from typing import Annotated

import typer
from liftos.bayes.v1 import common_pb2

from server.command.access import Access, with_access
from server.command.printing import print_outcome, print_outcome_report

app = typer.Typer(no_args_is_help=True)


@app.command("record")
@with_access
def outcome_record(
    access: Access,
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
) -> None:
    """Record in whose favour a conflict was resolved; earlier records stay."""

    if len({bool(experiment), estimate is not None, standard_error is not None}) > 1:
        raise typer.BadParameter("--experiment, --estimate and --standard-error belong together")
    with access.stored() as connection:
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


@app.command("list")
@with_access
def outcome_list(
    access: Access,
    analysis: Annotated[str, typer.Option(help="Only those of this analysis.")] = "",
) -> None:
    """Recorded outcomes, newest first."""

    with access.stored() as connection:
        analysis_of = cache(connection.conflicts.get)
        for outcome in connection.conflicts.outcomes(analysis_id=analysis):
            print_outcome(outcome, analysis_of(outcome.analysis_id))


@app.command("report")
@with_access
def outcome_report(access: Access) -> None:
    """How often the data were right, by severity."""
    with access.stored() as connection:
        print_outcome_report(connection.conflicts.outcome_report())
