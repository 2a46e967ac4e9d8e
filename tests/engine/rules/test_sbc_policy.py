"""Decision when SBC is essential: boundary table and logic of methods/sbc.md §15.2."""

import dataclasses
import itertools
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rules.sbc_policy import (
    POLICY_V1,
    Decision,
    EvidenceTrigger,
    NecessityEvidence,
    NecessityInputs,
    Rule,
    check_necessity,
)
from engine.rules.sbc_presets import ValidationType
from engine.sbc.power import detectable_by

CALM = NecessityInputs(n_parameters=5, bayes_factor=1.5, business_impact_minor_units=1_000_000, client_confidence=0.9)


def _with(**changes):
    return check_necessity(dataclasses.replace(CALM, **changes))


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("n_parameters", 10, None),
        ("n_parameters", 11, Rule.MODEL_COMPLEXITY),
        ("bayes_factor", 10.0, None),
        ("bayes_factor", 10.0000001, Rule.CONFLICT_SEVERITY),
        ("bayes_factor", math.inf, Rule.CONFLICT_SEVERITY),
        ("bayes_factor", 0.0, None),
        ("business_impact_minor_units", 100_000_000, None),
        ("business_impact_minor_units", 100_000_001, Rule.BUSINESS_IMPACT),
        ("business_impact_minor_units", 0, None),
        ("client_confidence", 0.6, None),
        ("client_confidence", 0.5999, Rule.CLIENT_CONFIDENCE),
        ("client_confidence", 0.0, Rule.CLIENT_CONFIDENCE),
    ],
)
def test_thresholds_are_strict_as_in_the_boundary_table(field, value, rule):
    found = _with(**{field: value})
    assert found.triggered == (() if rule is None else (rule,))
    assert found.decision is (Decision.NOT_REQUIRED_BY_POLICY if rule is None else Decision.ESSENTIAL)


@pytest.mark.parametrize(
    ("log", "essential"),
    [
        (math.log(10), False),
        (math.log(10.0000001), True),
        (math.nextafter(math.log(10), 9), True),
        (5000.0, True),
        (math.inf, True),
        (-math.inf, False),
    ],
)
def test_log_bayes_factor_decides_without_overflow_and_without_rounding(log, essential):
    found = _with(bayes_factor=None, log_bayes_factor=log)
    assert (found.decision is Decision.ESSENTIAL) == essential
    assert found.missing == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_parameters", 0),
        ("n_parameters", True),
        ("n_parameters", 3.5),
        ("bayes_factor", -1.0),
        ("bayes_factor", math.nan),
        ("log_bayes_factor", math.nan),
        ("client_confidence", 60.0),
        ("client_confidence", -0.1),
        ("client_confidence", math.nan),
        ("business_impact_minor_units", -1),
        ("business_impact_minor_units", 1e6),
    ],
)
def test_impossible_values_are_refused_with_their_field(field, value):
    with pytest.raises(InvalidInput) as caught:
        NecessityInputs(**{field: value})
    assert caught.value.field == field


def test_other_currencies_and_contradictions_are_refused():
    with pytest.raises(InvalidInput, match="currency"):
        _with(currency="EUR")
    with pytest.raises(InvalidInput, match="contradicts"):
        NecessityInputs(bayes_factor=10.0, log_bayes_factor=10.0)
    assert NecessityInputs(bayes_factor=12.18, log_bayes_factor=math.log(12.18)).bayes_factor == 12.18


FIELDS = ("n_parameters", "bayes_factor", "business_impact_minor_units", "client_confidence")
STATES = {
    "n_parameters": (None, 5, 11),
    "bayes_factor": (None, 1.0, 11.0),
    "business_impact_minor_units": (None, 0, 200_000_000),
    "client_confidence": (None, 0.9, 0.1),
}


def test_any_of_with_missing_inputs_follows_kleene_in_all_81_cases():
    for case in itertools.product(range(3), repeat=4):
        values = {field: STATES[field][state] for field, state in zip(FIELDS, case, strict=True)}
        found = check_necessity(NecessityInputs(**values))
        expected = (
            Decision.ESSENTIAL if 2 in case else Decision.UNDETERMINED if 0 in case else Decision.NOT_REQUIRED_BY_POLICY
        )
        assert found.decision is expected
        assert found.missing == tuple(field for field, state in zip(FIELDS, case, strict=True) if state == 0)
        assert found.policy_hash == POLICY_V1.hash


def test_raising_a_risk_never_turns_essential_off():
    ladders = {
        "n_parameters": (1, 10, 11, 50),
        "bayes_factor": (0.0, 9.0, 10.0, 11.0, math.inf),
        "business_impact_minor_units": (0, 100_000_000, 100_000_001, 10**12),
        "client_confidence": (1.0, 0.61, 0.6, 0.59, 0.0),
    }
    for field, ladder in ladders.items():
        for start in (CALM, dataclasses.replace(CALM, n_parameters=None), dataclasses.replace(CALM, bayes_factor=99.0)):
            essential = [
                check_necessity(dataclasses.replace(start, **{field: value})).decision is Decision.ESSENTIAL
                for value in ladder
            ]
            assert essential == sorted(essential)


def test_missing_is_not_zero():
    assert _with(business_impact_minor_units=None).decision is Decision.UNDETERMINED
    assert _with(business_impact_minor_units=0).decision is Decision.NOT_REQUIRED_BY_POLICY


def test_rules_carry_observed_threshold_operator_margin_and_near_miss():
    found = {r.rule: r for r in _with(n_parameters=11, client_confidence=0.65, bayes_factor=8.9).rules}
    complexity = found[Rule.MODEL_COMPLEXITY]
    assert (complexity.observed, complexity.operator, complexity.threshold, complexity.margin) == (11, ">", 10, 1)
    assert complexity.near_miss
    confidence = found[Rule.CLIENT_CONFIDENCE]
    assert (confidence.operator, confidence.triggered, confidence.near_miss) == ("<", False, True)
    assert confidence.margin == pytest.approx(-0.05)
    assert not found[Rule.CONFLICT_SEVERITY].near_miss
    near = {r.rule: r for r in _with(bayes_factor=9.0).rules}[Rule.CONFLICT_SEVERITY]
    assert near.near_miss
    assert not near.triggered


def test_changes_say_what_would_flip_the_answer():
    (only,) = _with(n_parameters=14).changes
    assert (only.field, only.operator, only.threshold, only.margin) == ("n_parameters", "<=", 10, 4)
    assert not only.together
    assert only.leads_to is Decision.NOT_REQUIRED_BY_POLICY
    both = _with(n_parameters=14, client_confidence=0.5, bayes_factor=None).changes
    assert [c.field for c in both] == ["n_parameters", "client_confidence"]
    assert all(c.together and c.leads_to is Decision.UNDETERMINED for c in both)
    calm = {c.field: c for c in _with().changes}
    assert (calm["client_confidence"].operator, calm["client_confidence"].threshold) == ("<", 0.6)
    assert calm["n_parameters"].margin == 5
    unknown = [c for c in _with(bayes_factor=None).changes if c.field == "bayes_factor"]
    assert [(c.operator, c.threshold, c.leads_to) for c in unknown] == [
        (">", 10, Decision.ESSENTIAL),
        ("<=", 10, Decision.NOT_REQUIRED_BY_POLICY),
    ]


@pytest.mark.parametrize(
    ("changes", "kind", "simulations"),
    [
        ({}, ValidationType.NONE, 0),
        ({"bayes_factor": None}, ValidationType.QUICK, 100),
        ({"n_parameters": 12}, ValidationType.STANDARD, 500),
        ({"client_confidence": 0.3}, ValidationType.STANDARD, 500),
        ({"business_impact_minor_units": 10**9}, ValidationType.COMPREHENSIVE, 1000),
        ({"n_parameters": 12, "client_confidence": 0.3}, ValidationType.COMPREHENSIVE, 1000),
        ({"bayes_factor": 12.18}, ValidationType.POSTERIOR, 500),
        ({"bayes_factor": 12.18, "n_parameters": 12}, ValidationType.POSTERIOR, 1000),
    ],
)
def test_recommended_run_fits_the_reason(changes, kind, simulations):
    found = _with(**changes)
    assert (found.validation_type, found.simulations) == (kind, simulations)


@pytest.mark.parametrize(
    ("evidence", "trigger", "kind"),
    [
        ({"certified_pass": False}, EvidenceTrigger.NO_CERTIFIED_PASS, ValidationType.QUICK),
        ({"certified_pass": True, "stale_pass": True}, EvidenceTrigger.STALE_PASS, ValidationType.STANDARD),
        ({"divergences": 1}, EvidenceTrigger.DIVERGENCES, ValidationType.STANDARD),
        ({"r_hat": 1.011}, EvidenceTrigger.R_HAT, ValidationType.STANDARD),
        ({"r_hat": math.nan}, EvidenceTrigger.R_HAT, ValidationType.STANDARD),
        ({"ess": 399.0}, EvidenceTrigger.LOW_ESS, ValidationType.STANDARD),
        ({"approximate_inference": True}, EvidenceTrigger.APPROXIMATE_INFERENCE, ValidationType.STANDARD),
        ({"custom_likelihood": True}, EvidenceTrigger.CUSTOM_LIKELIHOOD, ValidationType.STANDARD),
        ({"multimodal": True}, EvidenceTrigger.MULTIMODAL, ValidationType.STANDARD),
        ({"data_dependent_scaling": True}, EvidenceTrigger.DATA_DEPENDENT_SCALING, ValidationType.STANDARD),
    ],
)
def test_evidence_steers_the_recommendation_and_never_the_policy(evidence, trigger, kind):
    found = check_necessity(CALM, NecessityEvidence(**evidence))
    assert found.decision is Decision.NOT_REQUIRED_BY_POLICY
    assert found.evidence == (trigger,)
    assert found.validation_type is kind


def test_good_diagnostics_and_unknown_evidence_trigger_nothing():
    good = NecessityEvidence(certified_pass=True, stale_pass=False, divergences=0, r_hat=1.01, ess=400.0)
    assert check_necessity(CALM, good).evidence == ()
    assert check_necessity(CALM).evidence == ()


def test_a_current_pass_satisfies_an_essential_check_but_not_one_asked_for_by_conflict():
    current = NecessityEvidence(certified_pass=True, stale_pass=False)
    found = check_necessity(dataclasses.replace(CALM, n_parameters=20), current)
    assert (found.decision, found.satisfied, found.validation_type) == (Decision.ESSENTIAL, True, ValidationType.NONE)
    conflict = check_necessity(dataclasses.replace(CALM, bayes_factor=20.0), current)
    assert (conflict.satisfied, conflict.validation_type) == (False, ValidationType.POSTERIOR)
    answered = check_necessity(
        dataclasses.replace(CALM, bayes_factor=20.0), dataclasses.replace(current, posterior_pass=True)
    )
    assert (answered.satisfied, answered.validation_type) == (True, ValidationType.NONE)
    stale = check_necessity(dataclasses.replace(CALM, n_parameters=20), NecessityEvidence(True, stale_pass=True))
    assert (stale.satisfied, stale.validation_type) == (False, ValidationType.STANDARD)


def test_policy_hash_changes_with_every_field_and_decisions_are_reproducible():
    hashes = {POLICY_V1.hash}
    for field in dataclasses.fields(POLICY_V1):
        value = getattr(POLICY_V1, field.name)
        hashes.add(dataclasses.replace(POLICY_V1, **{field.name: value + ("x" if isinstance(value, str) else 1)}).hash)
    assert len(hashes) == 1 + len(dataclasses.fields(POLICY_V1))
    assert check_necessity(CALM) == check_necessity(CALM)
    assert check_necessity(CALM, policy=dataclasses.replace(POLICY_V1, max_parameters=4)).decision is Decision.ESSENTIAL


def test_the_built_in_version_is_the_one_whose_hash_is_stored_with_decisions():
    # Another value of any field, the presets' sizes among them, has to be another version.
    assert (POLICY_V1.version, POLICY_V1.hash) == (
        1,
        "ffd1a8926a12836606c86d3f9ec6111dad678c74ff92ebc03fd948e44972af77",
    )


def test_rules_and_verdict_load_no_jax():
    code = (
        "import sys, engine.rules.sbc_policy, engine.rules.calendar, engine.sbc.verdict; sys.exit('jax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


VALUES = {
    "n_parameters": st.none() | st.integers(1, 100),
    "bayes_factor": st.none() | st.floats(0, allow_nan=False),
    "business_impact_minor_units": st.none() | st.integers(0, 10**12),
    "client_confidence": st.none() | st.floats(0, 1),
}
POLICIES = st.builds(
    lambda parameters, factor, impact, confidence: dataclasses.replace(
        POLICY_V1,
        version=2,
        max_parameters=parameters,
        max_bayes_factor=factor,
        max_impact_minor_units=impact,
        min_confidence=confidence,
    ),
    st.integers(1, 60),
    st.floats(1e-3, 1e12),
    st.integers(0, 10**11),
    st.floats(0, 1),
)


@given(st.fixed_dictionaries(VALUES), st.sampled_from(FIELDS), st.data(), POLICIES)
def test_raising_any_risk_under_any_policy_never_turns_essential_off(values, field, data, policy):
    before = check_necessity(NecessityInputs(**values), policy=policy)
    known = values[field]
    riskier = data.draw(VALUES[field].filter(lambda value: value is not None))
    if known is not None:
        riskier = min(riskier, known) if field == "client_confidence" else max(riskier, known)
    after = check_necessity(NecessityInputs(**{**values, field: riskier}), policy=policy)
    if before.decision is Decision.ESSENTIAL:
        assert after.decision is Decision.ESSENTIAL
    # Nor does saying what was missing ever leave more undetermined than before.
    assert set(after.missing) == set(before.missing) - {field}


@given(st.fixed_dictionaries(VALUES), POLICIES)
def test_every_rule_looks_at_its_own_input_alone(values, policy):
    together = check_necessity(NecessityInputs(**values), policy=policy).rules
    for field, rule in zip(FIELDS, together, strict=True):
        (alone,) = (
            found
            for found in check_necessity(NecessityInputs(**{field: values[field]}), policy=policy).rules
            if found.field == field
        )
        assert rule == alone


def test_the_advised_run_of_two_parts_sees_less_per_part_than_one_of_the_same_size():
    # methods/sbc.md §11, P = 16 at N = 1000: power 1 for sd x .8 and .39 for x .9, so 80 % lies between.
    posterior = detectable_by(ValidationType.POSTERIOR, 1000, 15)
    assert 0.8 < posterior.sd_factor_low < 0.9
    # Two parts share the error probability (engine.sbc.judgement.rules_of).
    both = detectable_by(ValidationType.COMPREHENSIVE, 1000, 15)
    assert both.sd_factor_low < posterior.sd_factor_low < 1 < posterior.sd_factor_high < both.sd_factor_high
    assert posterior.bias < both.bias
    # Without a number of parameters it is that of a model at the threshold.
    assert detectable_by(ValidationType.QUICK, 100, None) == detectable_by(ValidationType.QUICK, 100, 10)
