"""Data are not used twice with a prior that was derived from them: refusals, the exploratory stamp, split samples."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import Any

import grpc
import pytest
from liftos.bayes import Client, FailedPrecondition, InvalidArgument, NotFound, experiment, share_of_outcome, usd
from liftos.bayes.errors import from_rpc_error
from liftos.bayes.v1 import common_pb2, conflict_pb2, elicitation_pb2, prior_update_pb2, sbc_pb2

from server.command import printing as report
from tests.end_to_end.examples import normal

TV = share_of_outcome("TV")
YEAR_1 = ("2023-01-01", "2023-12-31")
YEAR_2 = ("2024-01-01", "2024-12-31")


def summary(client: Client, model_id: str, estimate: float, window: tuple[str, str] | None) -> None:
    client.models.register_summary(
        model_id,
        estimand=TV,
        estimate=estimate,
        standard_error=0.1,
        n_months=12,
        reference_prior=normal(0.5, 1.0),
        window=window,
    )


def believe(client: Client, session_id: str, model_id: str, mean: float = 0.5, sd: float = 0.1) -> None:
    """A confirmed session; the confidence is high enough for a policy that then asks for no calibration."""
    client.elicitation.create(session_id, model_id=model_id, client_confidence=0.9)
    client.elicitation.add_belief(session_id, "tv", TV, mean=mean, plus_minus=sd, meaning="sd", stated_by="head of TV")
    client.elicitation.confirm(session_id)


def analysed(client: Client, session_id: str, **options: Any) -> conflict_pb2.ConflictAnalysis:
    return client.conflicts.analyze(session_id, business_impact=usd(1000), **options)


def accepted(client: Client, session_id: str, strategy: str = "full_bayesian") -> prior_update_pb2.PriorUpdate:
    update = client.updates.propose(session_id, update_strategy=strategy, min_evidence_strength=1.0)
    assert update.releasable, list(update.release_blockers)
    return client.updates.accept(update, decided_by="analyst", reason="test")


def adopt(client: Client, update_id: str, session_id: str, **options: Any) -> elicitation_pb2.ElicitationSession:
    client.elicitation.adopt_update(update_id, session_id, client_confidence=0.9, **options)
    return client.elicitation.confirm(session_id)


def first_year(client: Client, strategy: str = "full_bayesian") -> prior_update_pb2.PriorUpdate:
    """The belief 50 % ± 10 met the 30 % ± 10 of year 1 (recentred Bayes factor e, p .157) and was updated."""
    summary(client, "year-1", 0.3, YEAR_1)
    believe(client, "own", "year-1")
    analysed(client, "own")
    return accepted(client, "own", strategy)


def refusal(client: Client, session_id: str, **options: Any) -> FailedPrecondition:
    with pytest.raises(FailedPrecondition) as caught:
        analysed(client, session_id, **options)
    assert caught.value.reason == "DATA_ALREADY_USED"
    return caught.value


@pytest.mark.parametrize("strategy", ["full_bayesian", "evidence_weighted"])
def test_an_updated_prior_is_refused_with_the_data_behind_it_and_goes_with_the_next(
    client: Client, strategy: str
) -> None:
    update = first_year(client, strategy)
    assert (update.beliefs[0].after.WhichOneof("kind") == "mixture") == (strategy == "evidence_weighted")
    session = adopt(client, update.update_id, "adopted")
    (belief,) = session.beliefs
    assert session.adopted_update_id == update.update_id
    assert belief.compiled == update.beliefs[0].after
    assert belief.summary == update.beliefs[0].after_summary
    assert belief.role == elicitation_pb2.BELIEF_ROLE_MARGINAL_REPLACEMENT
    assert belief.stated_by == "head of TV"
    (seen,) = belief.seen
    assert (seen.window.first_date, seen.window.last_date) == YEAR_1
    assert (seen.kpi, seen.rows, seen.update_id, seen.inherited) == (
        "share_of_outcome[TV]",
        12,
        update.update_id,
        False,
    )
    error = refusal(client, "adopted")
    assert "belief 'tv' has seen 2023-01-01 to 2023-12-31 (12 rows)" in error.message
    assert update.update_id in error.message
    assert "exploratory" in error.message
    assert error.metadata["overlap"] == "2023-01-01/2023-12-31"
    summary(client, "year-2", 0.35, YEAR_2)
    adopt(client, update.update_id, "next", model_id="year-2")
    analysis = analysed(client, "next")
    assert not analysis.exploratory
    assert analysis.looks == 1
    assert not analysis.overlaps


def test_the_refusal_reaches_through_an_update_of_an_update(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    first = first_year(client)
    summary(client, "year-2", 0.2, YEAR_2)
    adopt(client, first.update_id, "second", model_id="year-2")
    analysed(client, "second")
    second = accepted(client, "second")
    assert list(second.lineage.parent_update_ids) == [first.update_id]
    assert [(r.update_id, r.before.mean) for r in second.lineage.replaced] == [
        (first.update_id, pytest.approx(0.5)),
        (second.update_id, pytest.approx(0.4)),  # the mean of .5 ± .1 and .3 ± .1
    ]
    # z² / 2 with z² = .2² / (.1² + .1²), and = (.4 - .2)² / (.1² / 2 + .1²): methods/conflict.md §4.1
    assert [r.log_bayes_factor for r in second.lineage.replaced] == pytest.approx([1.0, 4 / 3], abs=1e-6)
    assert [(s.window.first_date, s.update_id, s.inherited) for s in second.lineage.seen] == [
        ("2024-01-01", "", False),
        ("2023-01-01", first.update_id, True),
    ]
    assert second.lineage.model_hash == client.models.get("year-2").model_hash
    session = adopt(client, second.update_id, "third", model_id="year-1")
    assert [(s.window.first_date, s.update_id, s.inherited) for s in session.beliefs[0].seen] == [
        ("2024-01-01", second.update_id, False),
        ("2023-01-01", first.update_id, True),
    ]
    error = refusal(client, "third")
    assert f"2023-01-01 to 2023-12-31 (12 rows) through update {first.update_id}" in error.message
    assert error.metadata["overlap"] == "2023-01-01/2023-12-31"
    capsys.readouterr()
    report.print_lineage(second)
    printed = " ".join(capsys.readouterr().out.split())
    assert f"Comes after the updates {first.update_id}" in printed
    assert "Bayes factor against it 2.72." in printed
    assert "from 2023-01-01 to 2023-12-31, through update" in printed


def test_the_lineage_of_an_update_is_shown_on_the_command_line(service: Any, client: Client) -> None:
    update = first_year(client)
    options = ("--client", client.client_id, "--target", service.address)
    shown = subprocess.run(
        [sys.executable, "-m", "server.command.cli", "show", "lineage", update.update_id, *options],
        capture_output=True,
        text=True,
        check=True,
    )
    printed = " ".join(shown.stdout.split())
    assert "Has seen 12 rows of share_of_outcome[TV] in a summary from 2023-01-01 to 2023-12-31." in printed
    assert f"Replaced belief tv, 50 % [30 %, 70 %], in update {update.update_id}" in printed


def test_one_updated_belief_brings_its_lineage_into_a_session_of_own_beliefs(client: Client) -> None:
    update = first_year(client)
    client.elicitation.create("mixed", model_id="year-1")
    with pytest.raises(NotFound, match="belief of the update"):
        client.elicitation.add_belief("mixed", "tv", TV, updated_prior=(update.update_id, "radio"))
    with pytest.raises(InvalidArgument, match="MARGINAL_REPLACEMENT"):
        client.elicitation.add_belief("mixed", "tv", TV, updated_prior=(update.update_id, "tv"), role="extra_factor")
    belief = client.elicitation.add_belief("mixed", "from-tv", TV, updated_prior=(update.update_id, "tv"))
    assert belief.compiled == update.beliefs[0].after
    assert [seen.update_id for seen in belief.seen] == [update.update_id]
    client.elicitation.confirm("mixed")
    assert "belief 'from-tv'" in refusal(client, "mixed").message
    # As the expert's belief it has seen the data too.
    believe(client, "fresh", "year-1", mean=0.45)
    error = refusal(client, "fresh", expert_session_id="mixed")
    assert "belief 'mixed/from-tv'" in error.message


def test_an_updated_prior_is_of_its_own_quantity_only(client: Client) -> None:
    update = first_year(client)
    radio = share_of_outcome("Radio")
    client.models.register_summary(
        "radio", estimand=radio, estimate=0.2, standard_error=0.1, n_months=12, reference_prior=normal(0.5, 1.0)
    )
    client.elicitation.create("mixed", model_id="radio")
    with pytest.raises(InvalidArgument, match="about share of outcome of TV"):
        client.elicitation.add_belief("mixed", "radio", radio, updated_prior=(update.update_id, "tv"))
    with pytest.raises(InvalidArgument, match="model_id: belief 'tv': the model has no channel 'TV'"):
        client.elicitation.adopt_update(update.update_id, "adopted", model_id="radio")


def test_a_pool_has_seen_the_data_of_its_members(client: Client) -> None:
    update = first_year(client)
    adopt(client, update.update_id, "adopted")
    believe(client, "fresh", "year-1", mean=0.45)
    client.elicitation.create("pool", model_id="year-1")
    members = [elicitation_pb2.PooledMember(session_id=name, belief_id="tv") for name in ("fresh", "adopted")]
    request = elicitation_pb2.AddBeliefRequest(
        request_id="7b0e3f0e-52a5-4f7e-9d0c-0a86a5a0a002",
        client_id=client.client_id,
        session_id="pool",
        belief_id="pooled",
        estimand=TV,
        statement=elicitation_pb2.BeliefStatement(pooled=elicitation_pb2.PooledStatement(members=members)),
    )
    belief = client.stubs.elicitation.AddBelief(request, timeout=60).belief
    assert [(seen.update_id, seen.inherited) for seen in belief.seen] == [(update.update_id, True)]
    client.elicitation.confirm("pool")
    assert "belief 'pooled' has seen" in refusal(client, "pool").message


def test_an_adopted_belief_can_be_removed_before_the_session_is_confirmed(client: Client) -> None:
    update = first_year(client)
    client.elicitation.adopt_update(update.update_id, "adopted")
    session = client.elicitation.remove_belief("adopted", "tv")
    assert not session.beliefs
    assert session.state == elicitation_pb2.SESSION_STATE_DRAFT
    assert session.adopted_update_id == update.update_id


def test_only_an_accepted_update_can_be_used(client: Client) -> None:
    summary(client, "year-1", 0.3, YEAR_1)
    believe(client, "own", "year-1")
    analysed(client, "own")
    proposed = client.updates.propose("own", update_strategy="full_bayesian")
    with pytest.raises(FailedPrecondition, match="PROPOSED"):
        client.elicitation.adopt_update(proposed.update_id, "too-soon")
    client.elicitation.create("mixed", model_id="year-1")
    with pytest.raises(FailedPrecondition, match="PROPOSED"):
        client.elicitation.add_belief("mixed", "tv", TV, updated_prior=(proposed.update_id, "tv"))
    with pytest.raises(InvalidArgument, match="not projected"):
        client.elicitation.adopt_update(
            client.updates.accept(proposed, decided_by="analyst").update_id, "projected", projected=True
        )


def test_an_update_that_changed_nothing_passes_on_no_data(client: Client) -> None:
    summary(client, "year-1", 0.45, YEAR_1)
    believe(client, "own", "year-1")
    analysed(client, "own")
    update = client.updates.propose("own", update_strategy="evidence_weighted")
    assert not update.beliefs[0].changed
    update = client.updates.accept(update, decided_by="analyst")
    session = adopt(client, update.update_id, "adopted")
    assert not session.beliefs[0].seen
    assert not analysed(client, "adopted").exploratory
    again = client.updates.propose("adopted", update_strategy="full_bayesian")
    assert list(again.lineage.parent_update_ids) == [update.update_id]
    assert [replaced.update_id for replaced in again.lineage.replaced] == [again.update_id]


def test_an_exploratory_answer_is_stamped_and_its_update_cannot_be_accepted(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    update = first_year(client)
    adopt(client, update.update_id, "adopted")
    analysis = analysed(client, "adopted", exploratory=True)
    stored = client.conflicts.get(analysis.analysis_id)
    assert stored.exploratory
    (overlap,) = stored.overlaps
    assert (overlap.belief_id, overlap.update_id, overlap.rows) == ("tv", update.update_id, 12)
    assert (overlap.window.first_date, overlap.window.last_date) == YEAR_1
    assert stored.beliefs[0].explanation == analysis.beliefs[0].explanation
    assert stored.beliefs[0].explanation.startswith("Exploratory, not inferential: The client believes")
    report.print_conflict(stored)
    assert "EXPLORATORY – NOT INFERENTIAL" in capsys.readouterr().out
    request = prior_update_pb2.UpdatePriorsRequest(
        request_id="7b0e3f0e-52a5-4f7e-9d0c-0a86a5a0a001",
        client_id=client.client_id,
        session_id="adopted",
        update_strategy=prior_update_pb2.UPDATE_STRATEGY_FULL_BAYESIAN,
        analysis_id=analysis.analysis_id,
    )
    second = client.stubs.updates.UpdatePriors(request, timeout=60).update
    assert second.exploratory
    assert not second.releasable
    report.print_update(second)
    assert "EXPLORATORY – NOT INFERENTIAL" in capsys.readouterr().out
    report.print_overview(client, "")
    assert capsys.readouterr().out.count("EXPLORATORY – NOT INFERENTIAL") == 2
    with pytest.raises(FailedPrecondition) as caught:
        client.updates.accept(second, decided_by="analyst")
    assert caught.value.reason == "INVALID_STATE"


def test_asking_for_an_exploratory_answer_where_nothing_overlaps_stamps_nothing(client: Client) -> None:
    summary(client, "year-1", 0.3, YEAR_1)
    believe(client, "own", "year-1")
    assert not analysed(client, "own", exploratory=True).exploratory


def test_an_experiment_goes_into_a_chain_of_updates_once(client: Client) -> None:
    summary(client, "year-1", 0.3, YEAR_1)
    believe(client, "own", "year-1")
    analysed(client, "own")

    def proposed(session_id: str, *names: str) -> prior_update_pb2.PriorUpdate:
        experiments = [
            common_pb2.Experiment(experiment_id=name, estimand=TV, estimate=0.3, standard_error=0.1) for name in names
        ]
        request = prior_update_pb2.UpdatePriorsRequest(
            request_id=str(uuid.uuid4()),
            client_id=client.client_id,
            session_id=session_id,
            update_strategy=prior_update_pb2.UPDATE_STRATEGY_FULL_BAYESIAN,
            experiments=experiments,
        )
        try:
            return client.stubs.updates.UpdatePriors(request, timeout=60).update
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    first = client.updates.accept(proposed("own", "lift-1"), decided_by="analyst")
    assert list(first.lineage.experiment_ids) == ["lift-1"]
    summary(client, "year-2", 0.35, YEAR_2)
    session = adopt(client, first.update_id, "next", model_id="year-2")
    assert list(session.beliefs[0].experiment_ids) == ["lift-1"]
    analysed(client, "next")
    with pytest.raises(FailedPrecondition) as caught:
        proposed("next", "lift-1", "lift-2")
    assert caught.value.reason == "DATA_ALREADY_USED"
    assert caught.value.metadata["experiment_id"] == "lift-1"
    assert list(proposed("next", "lift-2").lineage.experiment_ids) == ["lift-1", "lift-2"]


def test_summaries_of_a_quantity_are_the_same_data_unless_both_state_other_days(client: Client) -> None:
    update = first_year(client)
    cases = {
        "undated": (0.35, None, "unknown"),
        # The same numbers are the same data, whatever days they are said to be of.
        "relabelled": (0.3, YEAR_2, "2024-01-01/2024-12-31"),
        "in-part": (0.35, ("2023-07-01", "2024-06-30"), "2023-07-01/2023-12-31"),
    }
    for name, (estimate, window, overlap) in cases.items():
        summary(client, name, estimate, window)
        adopt(client, update.update_id, name, model_id=name)
        error = refusal(client, name)
        assert error.metadata["overlap"] == overlap
        assert "state (window)" in error.message
        assert "data_period_months" not in error.message  # a summary has no rows to choose


def test_looks_count_the_analyses_and_updates_of_a_quantity_under_overlapping_rows(client: Client) -> None:
    update = first_year(client)
    assert update.looks == 1
    assert client.updates.propose("own", update_strategy="conservative").looks == 2
    believe(client, "other", "year-1", mean=0.4)
    assert analysed(client, "other").looks == 2
    summary(client, "year-2", 0.35, YEAR_2)
    believe(client, "later", "year-2")
    assert analysed(client, "later").looks == 1
    summary(client, "both", 0.32, (YEAR_1[0], YEAR_2[1]))
    believe(client, "all", "both")
    assert analysed(client, "all").looks == 4


def test_calibration_around_real_data_is_refused_and_on_simulated_data_it_is_not(client: Client) -> None:
    update = first_year(client)
    adopt(client, update.update_id, "adopted")
    measured = {"validation_type": "recovery", "other_truths": "posterior_mean"}
    for kind in ({"validation_type": "posterior"}, {"validation_type": "comprehensive"}, measured):
        with pytest.raises(FailedPrecondition) as caught:
            client.sbc.start(model_id="year-1", session_id="adopted", **kind, validate_only=True)
        assert caught.value.reason == "DATA_ALREADY_USED"
        assert "exploratory" not in caught.value.message
    client.sbc.start(model_id="year-1", session_id="adopted", validation_type="standard", validate_only=True)
    at_medians = client.sbc.start(
        model_id="year-1", session_id="adopted", validation_type="recovery", validate_only=True
    )
    assert [each.taken_from for each in at_medians.fixed_truth] == [sbc_pb2.OTHER_TRUTHS_PRIOR_MEDIAN]
    client.sbc.start(model_id="year-1", validation_type="posterior", validate_only=True)


def test_the_days_of_a_summary_come_in_order(client: Client) -> None:
    with pytest.raises(InvalidArgument, match="must not be before first_date"):
        summary(client, "backward", 0.3, (YEAR_1[1], YEAR_1[0]))


def test_a_copy_of_an_adopted_prior_is_not_taken_for_a_belief_that_has_seen_nothing(client: Client) -> None:
    update = first_year(client)
    summary(client, "year-2", 0.35, YEAR_2)
    session = client.elicitation.adopt_update(update.update_id, "copied", model_id="year-2")
    (belief,) = session.beliefs
    session = client.elicitation.remove_belief("copied", belief.belief_id, etag=session.etag)
    with pytest.raises(InvalidArgument, match="state `updated_prior`") as caught:
        client.elicitation.add_belief("copied", "again", TV, distribution=belief.compiled)
    assert [violation.field for violation in caught.value.violations] == ["statement.distribution"]
    client.elicitation.add_belief("copied", "again", TV, updated_prior=(update.update_id, "tv"))
    assert client.elicitation.get("copied").beliefs[0].seen


def test_a_summary_has_no_months_to_hold_out(client: Client) -> None:
    summary(client, "year-1", 0.3, YEAR_1)
    believe(client, "own", "year-1")
    for call in (
        lambda: client.conflicts.analyze("own", hold_out_months=3),
        lambda: client.sbc.start(model_id="year-1", num_simulations=100, hold_out_months=3),
        lambda: client.sbc.check_necessity(model_id="year-1", hold_out_months=3),
        lambda: client.elicitation.feedback("own", hold_out_months=3),
    ):
        with pytest.raises(InvalidArgument, match="is a summary: nothing can be left out"):
            call()


def test_estimates_in_per_cent_are_refused(client: Client) -> None:
    with pytest.raises(InvalidArgument, match=r"a share of 50 % is 0\.5"):
        client.models.register_summary(
            "slip", estimand=TV, estimate=25, standard_error=5, n_months=12, reference_prior=normal(0.5, 1.0)
        )
    summary(client, "year-1", 0.3, YEAR_1)
    believe(client, "own", "year-1")
    analysis = analysed(client, "own")
    slip = experiment("lift", TV, estimate=28, standard_error=4)
    with pytest.raises(InvalidArgument, match=r"a share of 50 % is 0\.5"):
        client.updates.propose("own", experiments=[slip])
    with pytest.raises(InvalidArgument, match=r"a share of 50 % is 0\.5"):
        client.conflicts.record_outcome(analysis.analysis_id, "tv", experiment=slip, recorded_by="Ann")
    # Noise may carry an estimate below 0.
    client.updates.propose("own", experiments=[experiment("lift", TV, estimate=-0.02, standard_error=0.04)])
