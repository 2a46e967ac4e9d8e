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

from server.communications import (
    NOT_INFERENTIAL,
    attribution_communications,
    conflict_communications,
    run_communications,
)

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
    exponential of a stored logarithm. Stored names, dates and sentences are left out as they are.
    """
    told = [value.partition(";")[0].rstrip(".") for found, value in fields(stored) if isinstance(value, str)]
    for words in sorted(filter(None, told), key=len, reverse=True):
        text = text.replace(words, "")
    plain = [float(value) for found, value in fields(stored) if found.cpp_type in NUMERIC]
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
        conflict_rule="recentred Bayes factor of at least 10; 3.1% of data sets that agree with the belief reach it",
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
    assert ("POSTERIOR run of 1000 simulations" in message.body) == (not started)


def test_every_number_about_a_failed_run_is_a_stored_one() -> None:
    stored = failed_run()
    (message,) = run_communications(stored)
    assert message.template == common_pb2.COMMUNICATION_TEMPLATE_SBC_FAILED
    assert untraced(text_of(message), stored) == []
    assert "its posterior is too narrow; intervals that promise 89.8 % held the truth in 66.2 %" in message.body
    assert "Others deviate as well" in message.body


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
    changed = message.body.replace("51.4 %", "51.3 %").replace("12.2 times", "12.4 times").replace("0.025", "0.026")
    assert untraced(changed, stored) == ["51.3 %", "0.026", "12.4"]
    other = belief(template)
    other.client.mean = 0.61
    assert "51.4 %" in untraced(message.body, analysis(other))


def test_a_message_about_a_conflict_reads_like_this() -> None:
    (message,) = conflict_communications(
        analysis(belief(common_pb2.COMMUNICATION_TEMPLATE_CONFLICT_FOUND, "half-life"))
    )
    assert message.subject == "Half-life of tv 2: the data contradict the belief of 4.126 time steps"
    sides, sure, meaning, steps = message.body.split("\n\n")
    assert sides == (
        "The belief “tv-2024” puts the half-life of tv 2 at 4.126 time steps (95 % interval from 2.289 to 5.963). "
        "Under the model “mmm-7” the data from 2022-01-03 to 2023-12-25 alone put it at 1.763 time steps (95 % "
        "interval from 0.4204 to 3.106), lower than the belief. Belief and data together give 2.708 time steps (95 % "
        "interval from 1.582 to 3.834)."
    )
    assert "12.2 times as probable, which is called strong" in sure
    assert "corrected for all of them (Holm) the probability is 0.051" in sure
    assert "(e-BH) does not flag this one" in sure
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
        "the data are 12.18 times as probable",
        "2,345,679 US dollars are at stake (policy: above 1,000,000)",
        "its own beliefs is 0.55 (policy: below 0.6)",
        "the sampler had divergent transitions",
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
