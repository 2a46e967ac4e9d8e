"""`liftos-bayes show`: read stored results again."""

from __future__ import annotations

from typing import Annotated

import typer

from server.command.access import Access, with_access
from server.command.printing import (
    print_attribution,
    print_conflict,
    print_feedback,
    print_lineage,
    print_messages,
    print_overview,
    print_sbc,
    print_session,
    print_update,
)

app = typer.Typer(no_args_is_help=True)

Messages = Annotated[
    bool, typer.Option("--messages", help="Print the messages for the client, ready to be sent, instead.")
]


@app.command("report")
@with_access
def show_report(access: Access) -> None:
    """Everything of a client that can be read again, newest first."""
    with access.stored() as connection:
        print_overview(connection, access.options)


@app.command("session")
@with_access
def show_session(
    access: Access,
    session_id: str,
    feedback: Annotated[
        bool, typer.Option("--feedback", help="What the beliefs imply; computed by the worker of a running server.")
    ] = False,
) -> None:
    """An elicitation session: its beliefs, how well they say what was stated, and what they imply."""
    with access.stored() as connection:
        print_session(connection.elicitation.get(session_id))
        if feedback:
            print_feedback(connection.elicitation.feedback(session_id))


@app.command("conflict")
@with_access
def show_conflict(
    access: Access,
    analysis_id: str,
    messages: Messages = False,
) -> None:
    """A conflict analysis."""
    with access.stored() as connection:
        analysis = connection.conflicts.get(analysis_id)
        if messages:
            print_messages(analysis.communications)
        else:
            print_conflict(analysis)


@app.command("sbc")
@with_access
def show_sbc(access: Access, run_id: str, messages: Messages = False) -> None:
    """A calibration run."""
    with access.stored() as connection:
        run = connection.sbc.get(run_id)
        if messages:
            print_messages(run.communications)
        else:
            print_sbc(run)


@app.command("update")
@with_access
def show_update(access: Access, update_id: str) -> None:
    """A recommended prior update."""
    with access.stored() as connection:
        print_update(connection.updates.get(update_id))


@app.command("lineage")
@with_access
def show_lineage(access: Access, update_id: str) -> None:
    """What a prior update was derived from: data, experiments, the updates before it and the beliefs it replaced."""
    with access.stored() as connection:
        print_lineage(connection.updates.get(update_id))


@app.command("attribution")
@with_access
def show_attribution(
    access: Access,
    attribution_id: str,
    messages: Messages = False,
) -> None:
    """An attribution."""
    with access.stored() as connection:
        attribution = connection.attribution.get(attribution_id)
        if messages:
            print_messages(attribution.communications)
        else:
            print_attribution(attribution)
