"""`liftos-bayes sbc`: calibration runs, decisions whether one is essential, and the policy behind these."""

from __future__ import annotations

from typing import Annotated

import typer
from liftos.bayes import usd

from server.command.access import Access, with_access
from server.command.calibration_runs import changed_thresholds, conclude, save_ledger, stated_truths
from server.command.printing import print_decisions, print_necessity, print_policies, print_replay, print_sbc

app = typer.Typer(no_args_is_help=True)
policy_app = typer.Typer(no_args_is_help=True, help="Versions of the policy that says when calibration is essential.")
app.add_typer(policy_app, name="policy")

Complexity = Annotated[int | None, typer.Option(help="Number of top-level parameters.")]
Factor = Annotated[float | None, typer.Option(help="Bayes factor against the client's prior.")]
Impact = Annotated[str | None, typer.Option(help="Money at stake in US dollars, for example 1500000.")]
Confidence = Annotated[float | None, typer.Option(help="The client's confidence, between 0 and 1.")]


@app.command("run")
@with_access
def sbc_run(
    access: Access,
    model_id: str,
    kind: Annotated[
        str, typer.Option("--type", help="quick, standard, comprehensive, posterior or recovery.")
    ] = "standard",
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
    truth: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE, the truth of a parameter in a recovery run; can be repeated."),
    ] = None,
    other_truths: Annotated[
        str | None, typer.Option(help="prior_median or posterior_mean: the truth of the other parameters.")
    ] = None,
) -> None:
    """Start a run, watch it and print the verdict; exit status 0 PASS, 3 FAIL, 4 INCONCLUSIVE.

    A recovery run has a report and no verdict, and exit status 0.
    """
    truths = stated_truths(truth or ())
    with access.served() as connection:
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
            fixed_truth=truths,
            other_truths=other_truths,
        )
        if handle.reused:
            typer.echo("the store has the answer; --fresh computes it again")
        status = conclude(handle)
    raise typer.Exit(status)


@app.command("watch")
@with_access
def sbc_watch(access: Access, run_id: str) -> None:
    """Watch a run that was started before and print its verdict; exit status 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""
    with access.served() as connection:
        status = conclude(connection.sbc.attach(run_id))
    raise typer.Exit(status)


@app.command("resume")
@with_access
def sbc_resume(access: Access, run_id: str) -> None:
    """Go on with a cancelled or failed run and watch it; exit status 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""
    with access.served() as connection:
        handle = connection.sbc.attach(run_id)
        handle.resume()
        status = conclude(handle)
    raise typer.Exit(status)


@app.command("extend")
@with_access
def sbc_extend(access: Access, run_id: str, simulations: int) -> None:
    """Add simulations to a finished run, watch it and print the verdict; exit status 0 PASS, 3 FAIL, 4 INCONCLUSIVE."""
    with access.served() as connection:
        handle = connection.sbc.attach(run_id)
        handle.extend(simulations)
        status = conclude(handle)
    raise typer.Exit(status)


@app.command("cancel")
@with_access
def sbc_cancel(access: Access, run_id: str) -> None:
    """Cancel a run; its finished simulations stay in the ledger."""
    with access.served() as connection:
        print_sbc(connection.sbc.cancel(run_id))


@app.command("ledger")
@with_access
def sbc_ledger(
    access: Access,
    run_id: str,
    output: Annotated[typer.FileBinaryWrite, typer.Argument(help="NumPy archive (.npz) to write.")],
) -> None:
    """Save the ledger of a run: ranks, truths, posterior moments and diagnostics of every simulation."""
    with access.stored() as connection:
        number = save_ledger(connection, connection.sbc.get(run_id), output)
    typer.echo(f"{number} simulations written to {output.name}")


@app.command("necessity")
@with_access
def sbc_necessity(
    access: Access,
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
) -> None:
    """Decide whether calibration is essential; what is not given is missing, not zero."""

    if severity and (bayes_factor is not None or log_bayes_factor is not None):
        raise typer.BadParameter("give the Bayes factor or --severity, which is its label, but not both")
    with access.served() as connection:
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


@app.command("decisions")
@with_access
def sbc_decisions(access: Access) -> None:
    """Stored decisions, newest first."""
    with access.stored() as connection:
        print_decisions(connection.sbc.decisions())


@policy_app.command("list")
@with_access
def policy_list(access: Access) -> None:
    """Versions of the policy, the one in force first."""
    with access.stored() as connection:
        print_policies(connection.sbc.policies())


@policy_app.command("create")
@with_access
def policy_create(
    access: Access,
    adopted_by: Annotated[str, typer.Option(help="Who puts it in force.")],
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    complexity: Complexity = None,
    bayes_factor: Factor = None,
    impact: Impact = None,
    confidence: Confidence = None,
) -> None:
    """Put new thresholds in force; those that are not given stay as they are."""
    with access.served() as connection:
        wanted = changed_thresholds(connection, complexity, bayes_factor, impact, confidence)
        connection.sbc.create_policy(**wanted, adopted_by=adopted_by, reason=reason)
        print_policies(connection.sbc.policies())


@policy_app.command("replay")
@with_access
def policy_replay(
    access: Access,
    complexity: Complexity = None,
    bayes_factor: Factor = None,
    impact: Impact = None,
    confidence: Confidence = None,
) -> None:
    """Make all past decisions again under changed thresholds and show those that differ; changes nothing."""
    with access.served() as connection:
        wanted = changed_thresholds(connection, complexity, bayes_factor, impact, confidence)
        print_replay(connection.sbc.replay_policy(**wanted))
