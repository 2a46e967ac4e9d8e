"""Messages to clients: which are written, and that every number in them is one of the stored answer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from liftos.bayes.v1 import attribution_pb2, common_pb2, conflict_pb2, sbc_pb2

from server.texts.communications import (
    NOT_INFERENTIAL,
    attribution_communications,
    conflict_communications,
    run_communications,
)
from server.texts.phrases import rule_in_force
from server.texts.shared_number_notes import explain_shared

NUMBER = re.compile(r"(?<![\w.,])-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?P<percent> %)?")
NUMERIC = {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64}


def fields(message: Message) -> Iterator[tuple[FieldDescriptor, Any]]:
    """Every field that is set in a message and in those inside it, item by item."""
    for descriptor, value in message.ListFields():
        for item in value if descriptor.is_repeated else [value]:
            if descriptor.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
                yield from fields(item)
            else:
                yield descriptor, item


def untraced(text: str, stored: Message) -> list[str]:
    """The numbers of a text that are none of the stored ones, to the digits shown.

    What is shown in per cent must be a hundred times a stored number, and nothing else may be. A factor may be the
    exponential of a stored logarithm, and "one in" so many the inverse of a stored rate. Stored names, dates and
    sentences are left out as they are; the numbers of the rule in force count as stored.
    """
    told = [value.partition(";")[0].rstrip(".") for found, value in fields(stored) if isinstance(value, str)]
    if stored.HasField("create_time"):
        told.append(stored.create_time.ToDatetime().date().isoformat())  # type: ignore[attr-defined]
    for words in sorted(filter(None, told), key=len, reverse=True):
        text = text.replace(words, "")
    for rate in (value for found, value in fields(stored) if found.name == "null_rate" and value):
        text = text.replace(f"one right belief in {1.0 / rate:.0f} ", "")
    plain = [float(value) for found, value in fields(stored) if found.cpp_type in NUMERIC]
    rules = [value.partition(";")[0] for found, value in fields(stored) if found.name == "conflict_rule"]
    plain += [float(number.group()) for rule in rules for number in NUMBER.finditer(rule)]
    logs = [float(value) for found, value in fields(stored) if found.name.startswith("log_")]
    factors = [math.exp(sign * value) for value in logs for sign in (-1, 1)]
    return [found.group() for found in NUMBER.finditer(text) if not _known(found, plain, factors)]


def _known(found: re.Match[str], plain: list[float], factors: list[float]) -> bool:
    token = found.group().removesuffix(" %")
    mantissa, _, power = token.replace(",", "").partition("e")
    unit = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
    value = float(token.replace(",", ""))

    def near(candidate: float, unit: float) -> bool:
        return abs(candidate - value) <= 0.5 * unit * (1 + 1e-9)

    if found["percent"]:
        return any(near(100.0 * candidate, unit) for candidate in plain)
    zeros = len(mantissa) - len(mantissa.rstrip("0")) if "." not in mantissa else 0
    return any(near(one, unit) for one in plain) or any(near(one, unit * 10.0**zeros) for one in factors)


def estimate(mean: float, sd: float) -> common_pb2.Estimate:
    levels = {0.5: 0.67449, 0.8: 1.28155, 0.95: 1.95996}
    intervals = [common_pb2.Interval(level=a, lower=mean - z * sd, upper=mean + z * sd) for a, z in levels.items()]
    return common_pb2.Estimate(mean=mean, median=mean * 1.0137, sd=sd, intervals=intervals)


QUANTITIES = {
    "share": (common_pb2.QUANTITY_SHARE_OF_OUTCOME, 0.5137, 0.1029, 0.2513),
    "roi": (common_pb2.QUANTITY_ROI, 3.217, 0.6413, 1.118),
    "half-life": (common_pb2.QUANTITY_HALF_LIFE, 4.126, 0.9371, 1.763),
    "coefficient": (common_pb2.QUANTITY_COEFFICIENT, -734.21, 61.37, -281.93),
    "outcome": (common_pb2.QUANTITY_INCREMENTAL_OUTCOME, 5_213_877.0, 431_211.0, 2_718_281.0),
}
FINDINGS = {
    common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND: conflict_pb2.FINDING_CONFLICT,
    common_pb2.COMMUNICATION_TEMPLATE_BELIEF_CONFIRMED: conflict_pb2.FINDING_AGREES,
    common_pb2.COMMUNICATION_TEMPLATE_BELIEF_NOT_CONTRADICTED: conflict_pb2.FINDING_AGREES,
    common_pb2.COMMUNICATION_TEMPLATE_DATA_SILENT: conflict_pb2.FINDING_DATA_SILENT,
    common_pb2.COMMUNICATION_TEMPLATE_NO_ANSWER: conflict_pb2.FINDING_UNRELIABLE,
}


def belief(template: int, quantity: str = "share", above: bool = False) -> conflict_pb2.BeliefConflict:
    """A belief of the template's finding; `above`: the data say more than the client."""
    kind, client, sd, data = QUANTITIES[quantity]
    if above:
        client, data = data, client
    finding = FINDINGS[template]
    confirms = template == common_pb2.COMMUNICATION_TEMPLATE_BELIEF_CONFIRMED
    unreliable = finding == conflict_pb2.FINDING_UNRELIABLE
    return conflict_pb2.BeliefConflict(
        belief_id="tv-2024",
        estimand=common_pb2.Estimand(quantity=kind, channel="tv 2"),
        bayes_factors=[
            conflict_pb2.BayesFactor(
                alternative=conflict_pb2.BAYES_FACTOR_ALTERNATIVE_RECENTRED, log_bayes_factor=2.4998
            ),
            conflict_pb2.BayesFactor(
                alternative=conflict_pb2.BAYES_FACTOR_ALTERNATIVE_REFERENCE, log_bayes_factor=-1.6543
            ),
        ],
        severity=conflict_pb2.SEVERITY_STRONG,
        severity_if_heavy_tailed=conflict_pb2.SEVERITY_MODERATE,
        null_rate=0.0295,
        conflict=finding == conflict_pb2.FINDING_CONFLICT,
        conflict_rule=rule_in_force(10.0, None, 0.0319),
        confirms=confirms,
        p_value=0.02531,
        p_value_holm=0.05062,
        contraction=0.0817,
        prior_ess_months=341.7,
        client=estimate(client, sd),
        data_side=estimate(data, sd * 0.731),
        client_posterior=estimate(0.4 * client + 0.6 * data, sd * 0.613),
        status=conflict_pb2.CONFLICT_STATUS_UNRELIABLE if unreliable else conflict_pb2.CONFLICT_STATUS_BORDERLINE,
        status_reason="Pareto k-hat is 0.93, above 0.7",
        finding=finding,
        attribution=conflict_pb2.CONFLICT_ATTRIBUTION_UNDECIDED,
        causes=[conflict_pb2.Cause(resolves=True, explanation="With the column rain the data alone would say 0.47.")],
        suggestion="An experiment with channel tv 2 (geo test or lift test) would settle it.",
    )


def analysis(*beliefs: conflict_pb2.BeliefConflict, **changes: Any) -> conflict_pb2.ConflictAnalysis:
    window = common_pb2.DateRange(first_date="2022-01-03", last_date="2023-12-25")
    return conflict_pb2.ConflictAnalysis(
        model_id="mmm-7", beliefs=beliefs, provenance=common_pb2.Provenance(window=window), looks=6, **changes
    )


def necessity(**changes: Any) -> sbc_pb2.SbcNecessity:
    rules = {
        "model_complexity": (">", 10, 17),
        "bayes_factor": (">", 10, 12.176),
        "business_impact": (">", 1_000_000, 2_345_678.9),
        "client_confidence": ("<", 0.6, 0.55),
    }
    made = sbc_pb2.SbcNecessity(
        decision=sbc_pb2.NECESSITY_DECISION_ESSENTIAL,
        rules=[
            sbc_pb2.NecessityRule(input=name, operator=operator, threshold=threshold, observed=observed, fired=True)
            for name, (operator, threshold, observed) in rules.items()
        ],
        missing_inputs=["business_impact"],
        evidence=["NO_CERTIFIED_PASS", "DIVERGENCES"],
        recommended_validation_type=sbc_pb2.VALIDATION_TYPE_POSTERIOR,
        recommended_simulations=1000,
        cost=sbc_pb2.SbcCost(seconds_median=93.46, seconds_90=212.8, runs=9),
        detectable_bias_sd=0.1734,
        explanation="Calibration is essential by policy.",
    )
    made.MergeFrom(sbc_pb2.SbcNecessity(**changes))
    return made


STANDING = necessity(evidence=["STANDING_FAIL"], explanation="SBC run 77 failed (sigma): more than 500 simulations.")


def failed_run(kind: int = sbc_pb2.VERDICT_KIND_FAIL) -> sbc_pb2.SbcRun:
    names = ["sigma", "share_of_outcome[tv 2]", "log_likelihood", "roi[tv 2]"]
    shapes = [sbc_pb2.RANK_SHAPE_OVER_CONFIDENT, sbc_pb2.RANK_SHAPE_BIASED_UP, sbc_pb2.RANK_SHAPE_IRREGULAR]
    quantities = [
        sbc_pb2.QuantityCalibration(
            quantity=name,
            adjusted_p_value=0.00123 * (index + 1),
            failing=True,
            shape=shapes[index % 3],
            coverage=[
                sbc_pb2.Coverage(nominal=0.4961, observed=0.31 + index / 77),
                sbc_pb2.Coverage(nominal=0.8984, observed=0.6617 + index / 77),
            ],
        )
        for index, name in enumerate(names)
    ]
    verdict = sbc_pb2.SbcVerdict(kind=kind, quantities=quantities, n_simulations=512, alpha=0.05)
    return sbc_pb2.SbcRun(run_id="0198-4711", model_id="mmm-7", verdict=verdict)


def text_of(message: common_pb2.Communication) -> str:
    return f"{message.subject}\n\n{message.body}"


@pytest.mark.parametrize("exploratory", [False, True])
@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("template", FINDINGS)
def test_every_number_about_a_belief_is_a_stored_one(
    template: int, quantity: str, above: bool, exploratory: bool
) -> None:
    stored = analysis(belief(template, quantity, above), exploratory=exploratory)
    (message,) = conflict_communications(stored)
    assert (message.template, message.belief_id) == (template, "tv-2024")
    assert untraced(text_of(message), stored) == []
    shown = NUMBER.findall(message.body)
    assert len(shown) >= (1 if template == common_pb2.COMMUNICATION_TEMPLATE_NO_ANSWER else 8)


@pytest.mark.parametrize("started", ["", "0198-4712"])
@pytest.mark.parametrize("need", [necessity(), STANDING], ids=["essential", "standing fail"])
def test_every_number_about_calibration_is_a_stored_one(need: sbc_pb2.SbcNecessity, started: str) -> None:
    validation = attribution_pb2.BayesianValidation(sbc_necessity=need, started_run_id=started)
    stored = attribution_pb2.Attribution(model_id="mmm-7", validation=validation)
    (message,) = attribution_communications(stored)
    assert untraced(text_of(message), stored) == []
    assert ("run 0198-4712 has been asked for" in message.body) == bool(started)
    assert ("a run of type POSTERIOR with 1000 simulations" in message.body) == (not started)
    assert "off by 0.17 times the uncertainty that the model states" in message.body


def test_every_number_about_a_failed_run_is_a_stored_one() -> None:
    stored = failed_run()
    (message,) = run_communications(stored)
    assert message.template == common_pb2.COMMUNICATION_TEMPLATE_SBC_FAILED
    assert untraced(text_of(message), stored) == []
    assert "the model is too sure of it; intervals that promise 89.8 % held the truth in 66.2 %" in message.body
    assert "Others deviate as well" in message.body


def test_shared_random_numbers_are_what_a_message_tells_where_no_rank_deviates() -> None:
    stored = failed_run()
    test = stored.verdict.shared_numbers.add(
        n_simulations=500, p_value=0.001, level=0.001, quantity="roi[tv]", observation=17, correlation=0.973
    )
    test.explanation = explain_shared(test)
    (both,) = run_communications(stored)
    assert test.explanation in both.body
    assert "the model is too sure of it" in both.body
    for quantity in stored.verdict.quantities:
        quantity.failing = False
    (alone,) = run_communications(stored)
    assert test.explanation in alone.body
    assert "was not found again" not in alone.body
    assert untraced(text_of(alone), stored) == []


def test_a_failed_approximation_says_nothing_about_the_service() -> None:
    stored = failed_run()
    stored.inference_method = sbc_pb2.INFERENCE_METHOD_LAPLACE
    (message,) = run_communications(stored)
    assert untraced(text_of(message), stored) == []
    assert message.subject == "Model mmm-7: the inference LAPLACE failed its calibration"
    assert "intervals cannot be trusted" not in text_of(message)
    assert "anything about the figures of the service" in message.body


def test_a_number_that_is_not_stored_would_be_found() -> None:
    template = common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND
    stored = analysis(belief(template))
    (message,) = conflict_communications(stored)
    changed = message.body.replace("51 %", "53 %").replace("12.2 times", "12.4 times").replace("0.025", "0.026")
    assert untraced(changed, stored) == ["53 %", "0.026", "12.4"]
    other = belief(template)
    other.client.mean = 0.61
    assert "51 %" in untraced(message.body, analysis(other))


def test_a_message_about_a_conflict_reads_like_this() -> None:
    (message,) = conflict_communications(
        analysis(belief(common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND, "half-life"))
    )
    assert message.subject == "Half-life of tv 2: the data contradict the belief of 4.13 time steps"
    sides, sure, meaning, steps = message.body.split("\n\n")
    assert sides == (
        "The belief “tv-2024” puts the half-life of tv 2 at 4.13 time steps (95 % interval from 2.29 to 5.96). "
        "Under the model “mmm-7” the data from 2022-01-03 to 2023-12-25 alone put it at 1.76 time steps (95 % "
        "interval from 0.42 to 3.11), lower than the belief. Belief and data together give 2.71 time steps (95 % "
        "interval from 1.58 to 3.83)."
    )
    assert "12.2 times as probable. That is called strong evidence; one right belief in 34 gets it by chance." in sure
    assert "A contradiction is declared when this factor is at least 10." in sure
    assert "corrected for all of them the probability is 0.051" in sure
    assert "The rule in force leads here, which looks at this belief alone" in sure
    assert "analysed 6 times" in sure
    assert meaning.startswith("What it does not mean: that the belief is proven wrong.")
    assert "With the column rain" in meaning
    assert steps.startswith("What to do next: An experiment with channel tv 2")


@pytest.mark.parametrize("template", FINDINGS)
def test_the_words_say_on_which_side_the_data_are(template: int) -> None:
    if template == common_pb2.COMMUNICATION_TEMPLATE_NO_ANSWER:
        (message,) = conflict_communications(analysis(belief(template)))
        assert "51.4 %" not in message.body  # an unreliable figure is not told
        return
    for above, word in ((True, "higher than the belief"), (False, "lower than the belief")):
        (message,) = conflict_communications(analysis(belief(template, above=above)))
        assert word in message.body


def test_a_compromise_that_lies_where_neither_is_is_told_without_its_figure() -> None:
    one = belief(common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND)
    one.client.CopyFrom(estimate(0.15, 0.02))
    one.data_side.CopyFrom(estimate(0.021, 0.005))
    one.client_posterior.CopyFrom(estimate(0.115, 0.018))
    (message,) = conflict_communications(analysis(one))
    assert "Belief and data lie so far apart that what they give together lies where neither of them is" in message.body
    assert "11.5 %" not in message.body
    one.client_posterior.CopyFrom(estimate(0.132, 0.019))
    (of_belief,) = conflict_communications(analysis(one))
    assert "what they give together is about the belief, where the data are not; no figure of it" in of_belief.body
    one.client_posterior.CopyFrom(estimate(0.025, 0.005))
    assert "Belief and data together give 2.50 %" in conflict_communications(analysis(one))[0].body


def test_a_posterior_that_is_an_extrapolation_is_told_as_that() -> None:
    one = belief(common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND)
    one.ClearField("client_posterior")
    (message,) = conflict_communications(analysis(one))
    assert "What belief and data give together is not told: most of it would lie beyond what the draws" in message.body
    assert "together give 0" not in message.body


@pytest.mark.parametrize("template", FINDINGS)
def test_of_a_fit_that_missed_its_thresholds_no_finding_is_told_whatever_is_stored(template: int) -> None:
    missed = common_pb2.FitDiagnostics(max_r_hat=1.016, min_ess_bulk=812.0, min_ess_tail=800.0)
    (of_analysis,) = conflict_communications(analysis(belief(template), diagnostics=missed))
    checks = attribution_pb2.BayesianValidation(conflicts=[belief(template)])
    (of_attribution,) = attribution_communications(attribution_pb2.Attribution(validation=checks, diagnostics=missed))
    for message in (of_analysis, of_attribution):
        assert message.template == common_pb2.COMMUNICATION_TEMPLATE_NO_ANSWER
        assert "the sampler did not meet its thresholds (R-hat 1.016" in message.body
        assert "25.1 %" not in message.body


@pytest.mark.parametrize("template", FINDINGS)
def test_an_exploratory_message_begins_by_saying_that_it_is_not_inferential(template: int) -> None:
    (plain,) = conflict_communications(analysis(belief(template)))
    assert "inferential" not in text_of(plain).lower()
    for message in conflict_communications(analysis(belief(template), sbc_necessity=necessity(), exploratory=True)):
        assert message.subject.startswith("Not inferential: ")
        assert message.body.startswith(NOT_INFERENTIAL)


def test_the_reasons_for_calibration_are_named_with_their_units() -> None:
    (message,) = conflict_communications(analysis(sbc_necessity=necessity()))
    assert message.template == common_pb2.COMMUNICATION_TEMPLATE_SBC_ESSENTIAL
    for reason in (
        "the model has 17 parameters, and the policy asks for it above 10",
        "the data are 12.2 times as probable",
        "2,345,679 US dollars are at stake (policy: above 1,000,000)",
        "its own beliefs is 0.55 (policy: below 0.6)",
        "the computation ran into trouble in places (divergent transitions)",
        "Not known, and not counted: business impact",
    ):
        assert reason in message.body


def test_nothing_is_told_where_there_is_nothing_to_tell() -> None:
    assert conflict_communications(conflict_pb2.ConflictAnalysis()) == []
    assert attribution_communications(attribution_pb2.Attribution()) == []
    assert conflict_communications(analysis(sbc_necessity=necessity(satisfied_by_run_id="0198-4711"))) == []
    undetermined = sbc_pb2.SbcNecessity(decision=sbc_pb2.NECESSITY_DECISION_UNDETERMINED)
    assert conflict_communications(analysis(sbc_necessity=undetermined)) == []
    for kind in (sbc_pb2.VERDICT_KIND_PASS, sbc_pb2.VERDICT_KIND_INCONCLUSIVE, sbc_pb2.VERDICT_KIND_CANCELLED):
        assert run_communications(failed_run(kind)) == []
    assert run_communications(sbc_pb2.SbcRun()) == []


def test_an_attribution_tells_of_its_beliefs_and_of_calibration() -> None:
    confirmed = belief(common_pb2.COMMUNICATION_TEMPLATE_BELIEF_CONFIRMED)
    validation = attribution_pb2.BayesianValidation(conflicts=[confirmed], sbc_necessity=STANDING)
    told = attribution_communications(attribution_pb2.Attribution(model_id="mmm-7", validation=validation))
    assert [message.template for message in told] == [
        common_pb2.COMMUNICATION_TEMPLATE_BELIEF_CONFIRMED,
        common_pb2.COMMUNICATION_TEMPLATE_SBC_FAILED,
    ]
    assert "the data alone" in told[0].body  # without a window, as of a summary
    assert STANDING.explanation in told[1].body


AGREEING = [
    common_pb2.COMMUNICATION_TEMPLATE_BELIEF_CONFIRMED,
    common_pb2.COMMUNICATION_TEMPLATE_BELIEF_NOT_CONTRADICTED,
]
TOGETHER = conflict_pb2.JointConflict(
    conflict=True, p_value=0.003141, worst_direction="The beliefs put tv 2 and radio together too high."
)


@pytest.mark.parametrize("template", AGREEING)
def test_a_belief_that_agrees_alone_cannot_stay_where_all_together_contradict_the_data(template: int) -> None:
    stored = analysis(belief(template), joint=TOGETHER)
    (message,) = conflict_communications(stored)
    assert "the beliefs taken together contradict the data" in message.body
    assert "with a probability of 0.0031. The beliefs put tv 2 and radio together too high." in message.body
    assert "What to do next: ask for the beliefs again, all together." in message.body
    assert "can stay" not in message.body
    assert "nothing has to change" not in message.body
    assert untraced(text_of(message), stored) == []
    validation = attribution_pb2.BayesianValidation(conflicts=[belief(template)], joint=TOGETHER)
    (of_attribution,) = attribution_communications(attribution_pb2.Attribution(validation=validation))
    assert "all together" in of_attribution.body


@pytest.mark.parametrize("template", AGREEING)
@pytest.mark.parametrize("off_alone", [True, False])
def test_a_belief_that_agrees_can_stay_where_another_is_what_the_data_contradict(
    template: int, off_alone: bool
) -> None:
    off, agreeing = belief(AGREEING[1]), belief(template)
    off.belief_id, off.conflict = "off", off_alone
    joint = conflict_pb2.JointConflict(conflict=True, p_value=0.001, worst_direction="The beliefs put radio too high.")
    joint.parts.add(belief_id="off", direction=-0.99)
    # Alone contradicted, the other is the reason even where both are mixed in the direction.
    joint.parts.add(belief_id=agreeing.belief_id, direction=0.6 if off_alone else 0.1)
    of_other, message = conflict_communications(analysis(off, agreeing, joint=joint))
    assert "ask for the beliefs again" not in message.body
    assert "that rests on others than this one" in message.body
    assert "can stay" in message.body or "nothing has to change" in message.body
    assert ("ask for the beliefs again" in of_other.body) is not off_alone
    validation = attribution_pb2.BayesianValidation(conflicts=[off, agreeing], joint=joint)
    attributed = attribution_communications(attribution_pb2.Attribution(validation=validation))[1]
    assert "ask for the beliefs again" not in attributed.body


def test_a_belief_that_agrees_can_stay_where_nothing_contradicts_all_of_them() -> None:
    (message,) = conflict_communications(analysis(belief(AGREEING[1]), joint=conflict_pb2.JointConflict(p_value=0.4)))
    assert "What to do next: the belief can stay." in message.body
    assert "together contradict" not in message.body


@pytest.mark.parametrize(("p", "log_factor"), [(0.83, 2.4998), (0.02, 0.05)])
def test_a_belief_that_agrees_well_is_told_so_and_not_that_another_is_as_probable(p: float, log_factor: float) -> None:
    one = belief(AGREEING[1])
    one.p_value, one.bayes_factors[0].log_bayes_factor = p, log_factor
    (message,) = conflict_communications(analysis(one))
    assert "Belief and data agree." in message.body
    assert "times as probable" not in message.body


def test_the_subject_of_a_wide_belief_tells_its_width() -> None:
    wide = belief(AGREEING[0], "roi")
    wide.client.CopyFrom(estimate(500.0, 600.0))
    (message,) = conflict_communications(analysis(wide))
    assert message.subject == "ROI of tv 2: the data speak for the belief of 500 ± 600 per unit of spend"
    wide.p_value = 0.51
    (inside,) = conflict_communications(analysis(wide))
    assert inside.subject == "ROI of tv 2: the data lie well inside the belief of 500 ± 600 per unit of spend"
    assert "or that the value in its middle is right" in message.body


def test_calibration_that_was_missing_then_is_told_with_the_date_and_not_once_it_has_passed() -> None:
    stored = analysis(sbc_necessity=necessity())
    stored.create_time.FromJsonString("2026-03-04T05:06:07Z")
    (message,) = conflict_communications(stored)
    assert "it was essential when this analysis was made (2026-03-04), and no run has passed" in message.body
    assert untraced(text_of(message), stored) == []
    assert conflict_communications(stored, certified=True) == []
    failed = analysis(belief(AGREEING[1]), sbc_necessity=STANDING)
    assert len(conflict_communications(failed)) == 2
    assert len(conflict_communications(failed, certified=True)) == 1


def test_what_a_factor_is_beyond_ten_thousand_is_not_told() -> None:
    huge = necessity()
    huge.rules[1].observed = math.exp(230.0)
    one = belief(common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND)
    one.bayes_factors[0].log_bayes_factor = 27.9
    for message in conflict_communications(analysis(one, sbc_necessity=huge)):
        assert re.search(r"\d{5}", message.body) is None
    assert "makes the data more than 10,000 times as probable" in conflict_communications(analysis(one))[0].body
    (calibration,) = conflict_communications(analysis(sbc_necessity=huge))
    assert "the data are more than 10,000 times as probable under another belief" in calibration.body


def test_a_p_value_below_one_in_ten_thousand_is_told_as_that() -> None:
    one = belief(common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND)
    one.p_value, one.p_value_holm = 3e-7, 9e-5
    (message,) = conflict_communications(analysis(one))
    assert "with a probability of less than 0.0001." in message.body
    assert "corrected for all of them the probability is less than 0.0001." in message.body
    assert "e-" not in message.body


def test_a_belief_that_mean_and_width_do_not_describe_is_told_with_its_shape() -> None:
    one = belief(common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND)
    one.prior.beta.alpha, one.prior.beta.beta = 0.4, 3.0
    (message,) = conflict_communications(analysis(one))
    assert "About the belief: Its density grows without bound towards 0.0 %" in message.body


@pytest.mark.parametrize(
    ("conflict", "p_holm", "flagged", "told"),
    [
        (True, 0.04, True, ""),
        (True, 0.06, True, "one such finding among several can be chance"),
        (True, 0.04, False, ""),  # e-BH asks for more than Holm does
        (False, 0.3, True, "finds no contradiction, though the rule over all beliefs of the session flags this one"),
        (False, 0.3, False, ""),
    ],
)
def test_where_the_rules_disagree_it_is_told_which_leads(
    conflict: bool, p_holm: float, flagged: bool, told: str
) -> None:
    template = common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND if conflict else AGREEING[1]
    one = belief(template)
    one.p_value_holm, one.flagged_by_e_bh = p_holm, flagged
    (message,) = conflict_communications(analysis(one))
    assert ("The rule in force leads here" in message.body) is bool(told)
    assert told in message.body


@pytest.mark.parametrize("template", FINDINGS)
def test_a_message_to_a_client_is_free_of_jargon(template: int) -> None:
    one = belief(template)
    one.conflict_rule = rule_in_force(10.0, 0.95, 0.05)
    for message in conflict_communications(analysis(one, sbc_necessity=necessity())):
        for word in ("node-split", "e-BH", "Holm", "posterior standard deviation", "recentred", "reference prior"):
            assert word not in text_of(message)
        if template == common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND and message.belief_id:
            assert "A contradiction is declared when the probability named first is at most 0.05." in message.body


def test_causes_that_the_data_reject_are_not_named() -> None:
    one = belief(common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND)
    one.causes[0].log_evidence_gain = -1.9
    assert "With the column rain" in conflict_communications(analysis(one))[0].body
    one.causes[0].log_evidence_gain = -2.1
    assert "With the column rain" not in conflict_communications(analysis(one))[0].body
    one.attribution = conflict_pb2.CONFLICT_ATTRIBUTION_PRIOR
    assert "resolves it, but for changes that the data reject." in conflict_communications(analysis(one))[0].body
