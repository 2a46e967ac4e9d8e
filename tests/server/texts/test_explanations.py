"""The stored sentences about a belief."""

from __future__ import annotations

from typing import Any

import pytest
from liftos.bayes import share_of_outcome
from liftos.bayes.v1 import attribution_pb2, common_pb2, conflict_pb2

from server.texts.explanations import Told, explain_attribution, explain_conflict, explain_validation
from server.texts.phrases import named_causes, times, times_exactly
from server.texts.standing import Standing


def belief(p: float = 0.3, log_factor: float = 0.6, **changes: Any) -> conflict_pb2.BeliefConflict:
    found = conflict_pb2.BeliefConflict(
        estimand=share_of_outcome("TV"),
        client=common_pb2.Estimate(mean=0.5, sd=0.1),
        data_side=common_pb2.Estimate(mean=0.4, sd=0.05),
        bayes_factors=[
            conflict_pb2.BayesFactor(
                alternative=conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED, log_bayes_factor=log_factor
            )
        ],
        p_value=p,
        severity=conflict_pb2.SEVERITY_WEAK,
        status=conflict_pb2.CONFLICT_STATUS_OK,
        finding=conflict_pb2.FINDING_AGREES,
        conflict_rule="recentred Bayes factor at least 10; 3.1% of data sets that agree with the belief reach it",
    )
    found.MergeFrom(conflict_pb2.BeliefConflict(**changes))
    return found


@pytest.mark.parametrize(("p", "log_factor"), [(0.83, 0.02), (0.6, 0.6), (0.3, 0.09)])
def test_a_belief_that_agrees_well_is_said_to_agree(p: float, log_factor: float) -> None:
    said = explain_conflict(belief(p, log_factor, confirms=True))
    assert f"The two agree (p = {p:.2g}), and the data positively support the belief." in said
    assert "times as probable" not in said


def test_some_evidence_short_of_the_rule_is_told_with_its_factor() -> None:
    assert "makes them 1.82 times as probable (p = 0.3, severity weak)" in explain_conflict(belief())


@pytest.mark.parametrize("finding", [conflict_pb2.FINDING_AGREES, conflict_pb2.FINDING_CONFLICT])
def test_an_open_label_is_told_with_its_reason(finding: int) -> None:
    open_ = belief(finding=finding, status=conflict_pb2.CONFLICT_STATUS_BORDERLINE, status_reason="the tails decide")
    assert "The label is open: the tails decide." in explain_conflict(open_)
    assert "open" not in explain_conflict(belief(finding=finding))


@pytest.mark.parametrize(
    ("log_ratio", "told"),
    [(0.0, "1"), (2.4998, "12.2"), (7.0, "1,100"), (27.9, "1.31e+12"), (900.0, "e^900"), (float("inf"), "e^inf")],
)
def test_a_factor_has_three_digits_however_large_and_in_a_sentence_an_upper_end(log_ratio: float, told: str) -> None:
    assert times_exactly(log_ratio) == told
    assert times(log_ratio) == (told if log_ratio < 9.0 else "more than 10,000")


def test_an_unreliable_comparison_tells_no_figure_of_the_data() -> None:
    unreliable = belief(
        finding=conflict_pb2.FINDING_UNRELIABLE,
        status=conflict_pb2.CONFLICT_STATUS_UNRELIABLE,
        status_reason="the sampler did not meet its thresholds",
    )
    assert explain_conflict(unreliable) == (
        "The client believes 50 % ± 10 % for the share of outcome of TV; what the data say of it cannot be told. "
        "The comparison is not reliable: the sampler did not meet its thresholds."
    )


# -- attributions ----------------------------------------------------------------------------------------------------

MET = common_pb2.FitDiagnostics(converged=True)
MISSED = common_pb2.FitDiagnostics(max_r_hat=1.016, min_ess_bulk=900.0, min_ess_tail=800.0)
FINDING = Standing()


def attribution(diagnostics: common_pb2.FitDiagnostics = MET, **changes: Any) -> attribution_pb2.Attribution:
    share = attribution_pb2.AttributedQuantity(
        quantity=common_pb2.QUANTITY_SHARE_OF_OUTCOME,
        data_side=common_pb2.Estimate(mean=0.153, sd=0.091),
        client_posterior=common_pb2.Estimate(mean=0.2, sd=0.05),
    )
    return attribution_pb2.Attribution(
        channels=[attribution_pb2.ChannelAttribution(channel=name, quantities=[share]) for name in ("a", "b")],
        total_media_share=common_pb2.Estimate(mean=0.306, sd=0.02),
        baseline_share=common_pb2.Estimate(mean=0.694, sd=0.02),
        diagnostics=diagnostics,
        **changes,
    )


def told(a: Standing = FINDING, total: Standing = FINDING, believed: common_pb2.FitDiagnostics | None = MET) -> Told:
    return Told({"a": a, "b": FINDING}, total, believed)


def test_what_each_channel_brought_is_told() -> None:
    first, *_, total, rest = explain_attribution(attribution(), told())
    # The same figures as in the conflict analysis are not: there the reference prior is taken out.
    assert first.startswith("a brought 15.3 % ± 9.1 % of the outcome by the data, under the model's reference prior.")
    assert "By the client's beliefs and the data together it brought 20.0 % ± 5.0 %." in first
    assert total == "All channels together: 30.6 % ± 2.0 % of the outcome."
    assert rest == "Without media there would be 69.4 % ± 2.0 % of the outcome."


def test_of_a_fit_that_missed_its_thresholds_no_figure_is_told_anywhere() -> None:
    missed = (
        "The sampler did not meet its thresholds (R-hat 1.0160, 800 effective draws); these figures must not be relied "
        "on."
    )
    assert explain_attribution(attribution(MISSED), told()) == [missed]
    assert explain_validation(attribution_pb2.BayesianValidation(), MISSED)[0] == missed
    assert missed not in explain_validation(attribution_pb2.BayesianValidation(), MET)


def test_without_a_usable_fit_under_the_beliefs_the_data_are_told_alone() -> None:
    first, a, b, *_ = explain_attribution(attribution(), told(believed=MISSED))
    assert first.startswith("What the client's beliefs and the data say together is not told: in that fit the sampler")
    assert a.startswith("a brought 15.3 %")
    assert "together" not in a + b


def test_a_channel_that_the_reference_prior_decides_is_told_as_that() -> None:
    reason = "the likelihood still rises where the draws end: the reference prior holds the fit back"
    a, b, *_ = explain_attribution(attribution(), told(Standing((reason,), held_back=True), believed=None))
    assert a.startswith(f"a: the reference prior decides, and no figure is a finding: {reason}.")
    assert "15.3 %" not in a
    assert b.startswith("b brought 15.3 %")


def test_a_channel_about_which_the_data_are_silent_is_told_with_the_priors_figure() -> None:
    a, *_ = explain_attribution(attribution(), told(Standing(silent=True)))
    assert a.startswith("a: the data say nothing of what it brought; 15.3 % ± 9.1 % of the outcome is what the model's")
    assert "brought 15.3" not in a


def test_channels_that_the_data_cannot_tell_apart_are_told_together_alone() -> None:
    group = attribution_pb2.ChannelGroup(channels=["a", "b"], share_of_outcome=common_pb2.Estimate(mean=0.306, sd=0.02))
    first, total, rest = explain_attribution(attribution(inseparable=[group]), told())
    assert first.startswith("a and b brought 30.6 % ± 2.0 % of the outcome together by the data")
    assert "no figure of one of them is a finding" in first
    assert "15.3" not in " ".join([first, total, rest])


def test_a_channel_that_the_data_cannot_tell_from_the_rest_is_told_as_that() -> None:
    sentences = explain_attribution(attribution(), Told({"a": FINDING, "b": FINDING}, FINDING, None, {"a": 0.9996}))
    assert (
        "a: 100 % of its exposure follows from the rest of the model, so the data hardly tell what it brought from "
        "what the rest did."
    ) in sentences


def test_what_cannot_be_told_of_all_channels_cannot_be_told_of_what_they_leave_either() -> None:
    sentences = explain_attribution(attribution(), told(total=Standing(("R-hat 1.02 is above 1.01",))))
    assert sentences[-1] == "All channels together: what was brought cannot be told: R-hat 1.02 is above 1.01."
    assert not any("30.6 %" in sentence or "69.4 %" in sentence for sentence in sentences)


def test_what_beliefs_and_data_give_together_is_not_told_where_neither_is() -> None:
    both = attribution()
    share = both.channels[0].quantities[0]
    share.prior.CopyFrom(common_pb2.Estimate(mean=0.15, sd=0.02))
    share.data_side.CopyFrom(common_pb2.Estimate(mean=0.021, sd=0.005))
    share.client_posterior.CopyFrom(common_pb2.Estimate(mean=0.115, sd=0.018))
    a, b, *_ = explain_attribution(both, told())
    assert a.startswith("a brought 2.10 % ± 0.50 %")
    assert "The client's belief and data lie so far apart that what they give together lies where neither" in a
    assert "11.5" not in a
    assert "together it brought 20.0 %" in b


# -- conflicts with causes and with several beliefs ------------------------------------------------------------------


def test_changes_of_the_model_that_change_nothing_are_one_sentence() -> None:
    resolving = conflict_pb2.Cause(resolves=True, explanation="With the column rain that contradicts it no more.")
    found = belief(
        finding=conflict_pb2.FINDING_CONFLICT,
        conflict=True,
        attribution=conflict_pb2.CONFLICT_ATTRIBUTION_MODEL,
        causes=[resolving, *(conflict_pb2.Cause(explanation="Nothing.") for _ in range(3))],
    )
    told = explain_conflict(found)
    assert "no more. 3 other changes of the model that were tried change nothing of it." in told
    assert "Nothing." not in told
    del found.causes[2:]
    assert "1 other change of the model that was tried changes nothing of it." in explain_conflict(found)


def test_a_contradiction_that_does_not_stand_among_several_beliefs_is_told_with_the_rule_that_leads() -> None:
    found = belief(0.03, 2.4, finding=conflict_pb2.FINDING_CONFLICT, conflict=True, p_value_holm=0.09)
    told = explain_conflict(found)
    assert "(Holm), p = 0.09. The rule in force leads here, which looks at this belief alone" in told
    found.conflict_rule = "node-split p at most 0.1; 10.0% of data sets that agree with the belief reach it"
    found.flagged_by_e_bh = True
    assert "leads here" not in explain_conflict(found)


def test_small_probabilities_are_told_as_below_one_in_ten_thousand() -> None:
    assert "(p < 0.0001, severity weak)" in explain_conflict(belief(1e-9, 20.0, finding=conflict_pb2.FINDING_CONFLICT))


@pytest.mark.parametrize(
    ("mean", "sd", "told"),
    [
        (0.153, 0.091, "15.3 % ± 9.1 %"),
        (0.5, 0.1, "50 % ± 10 %"),
        (0.00213, 0.00048, "0.213 % ± 0.048 %"),  # not 0.2 % ± 0.0 %
        (0.021, 0.00996, "2.1 % ± 1.0 %"),
    ],
)
def test_mean_and_spread_have_one_precision_and_two_digits_of_the_spread(mean: float, sd: float, told: str) -> None:
    found = belief()
    found.client.CopyFrom(common_pb2.Estimate(mean=mean, sd=sd))
    assert explain_conflict(found).startswith(f"The client believes {told} for the share of outcome of TV; ")


def test_a_hidden_driver_is_told_of_wherever_the_belief_is_blamed() -> None:
    blamed = conflict_pb2.BeliefConflict(
        attribution=conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR_OR_DRIVER,
        hidden_driver=conflict_pb2.HiddenDriver(
            robustness_value=0.2, strongest_control="price", multiple_of_strongest=1.46, plausible=True
        ),
    )
    tried, told = named_causes(blamed)
    assert tried == "No change of the model that was tried resolves it."
    assert "missing from the data set cannot be excluded" in told
    assert "20 % of what the model leaves open of both, 1.5 times what the control price would." in told
    blamed.attribution, blamed.hidden_driver.plausible = conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR, False
    blamed.hidden_driver.ClearField("multiple_of_strongest")
    assert "would take the conflict away only if it explained 20 % of" in named_causes(blamed)[-1]
    blamed.attribution = conflict_pb2.CONFLICT_ATTRIBUTION_MODEL
    assert not any("data set" in said for said in named_causes(blamed))
