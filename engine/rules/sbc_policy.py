"""Decision whether simulation-based calibration is essential: a versioned policy with three-valued logic.

The four thresholds are risk policy, not statistics: none of the literature on SBC names them. Evidence triggers, which
are direct signs of computational risk, stand beside them and steer what is recommended.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import InvalidInput
from engine.rules.sbc_presets import SIMULATIONS, ValidationType


class Decision(enum.Enum):
    """NOT_REQUIRED_BY_POLICY does not mean safe; UNDETERMINED means that a missing input could decide."""

    ESSENTIAL = "ESSENTIAL"
    UNDETERMINED = "UNDETERMINED"
    NOT_REQUIRED_BY_POLICY = "NOT_REQUIRED_BY_POLICY"


class Rule(enum.Enum):
    """The four rules of the policy, any of which makes SBC essential."""

    MODEL_COMPLEXITY = "MODEL_COMPLEXITY"
    CONFLICT_SEVERITY = "CONFLICT_SEVERITY"
    BUSINESS_IMPACT = "BUSINESS_IMPACT"
    CLIENT_CONFIDENCE = "CLIENT_CONFIDENCE"


INPUTS = {
    "n_parameters": "model_complexity",
    "bayes_factor": "bayes_factor",
    "business_impact_minor_units": "business_impact",
    "client_confidence": "client_confidence",
}
"""What the fields of `NecessityInputs` that the policy asks for are called towards its users."""


class EvidenceTrigger(enum.Enum):
    """Direct signs that the computation may be wrong, or that an earlier check no longer holds."""

    NO_CERTIFIED_PASS = "NO_CERTIFIED_PASS"
    STALE_PASS = "STALE_PASS"
    DIVERGENCES = "DIVERGENCES"
    R_HAT = "R_HAT"
    LOW_ESS = "LOW_ESS"
    APPROXIMATE_INFERENCE = "APPROXIMATE_INFERENCE"
    CUSTOM_LIKELIHOOD = "CUSTOM_LIKELIHOOD"
    MULTIMODAL = "MULTIMODAL"
    DATA_DEPENDENT_SCALING = "DATA_DEPENDENT_SCALING"


@dataclass(frozen=True)
class NecessityPolicy:
    """Thresholds of one policy version; all are strict, so a value equal to its threshold triggers nothing.

    max_impact_minor_units is in minor units of `currency` (cents of USD). A new threshold is a new version.
    """

    id: str
    version: int
    max_parameters: int
    max_bayes_factor: float
    max_impact_minor_units: int
    currency: str
    min_confidence: float
    near_miss: float
    max_r_hat: float
    min_ess: float
    quick_simulations: int
    standard_simulations: int
    comprehensive_simulations: int

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the policy's canonical JSON, hexadecimal."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


POLICY_V1 = NecessityPolicy(
    id="liftos.bayes.sbc-necessity",
    version=1,
    max_parameters=10,
    max_bayes_factor=10.0,
    max_impact_minor_units=100_000_000,
    currency="USD",
    min_confidence=0.6,
    near_miss=0.1,
    max_r_hat=1.01,
    min_ess=400.0,
    quick_simulations=SIMULATIONS[ValidationType.QUICK],
    standard_simulations=SIMULATIONS[ValidationType.STANDARD],
    comprehensive_simulations=SIMULATIONS[ValidationType.COMPREHENSIVE],
)


@dataclass(frozen=True)
class NecessityInputs:
    """What is known of the model and of what hangs on it; None is missing, which is not zero.

    n_parameters: top-level scalar unknowns, at least 1
    bayes_factor: evidence against the client's prior, >= 0, +inf allowed; log_bayes_factor is its natural log, for
        values that overflow, and may be given instead (or with it, if they agree)
    bayes_factor_words: what is known of bayes_factor where that is no number but a label, as it is to be told
    bayes_factor_partial: whether there are beliefs whose factor could not be had, so that a larger one may be missing
    business_impact_minor_units: what is at stake, >= 0, in minor units of `currency`
    client_confidence: the client's own, in [0, 1]
    """

    n_parameters: int | None = None
    bayes_factor: float | None = None
    log_bayes_factor: float | None = None
    bayes_factor_words: str | None = None
    business_impact_minor_units: int | None = None
    currency: str = "USD"
    client_confidence: float | None = None
    bayes_factor_partial: bool | None = None

    def __post_init__(self) -> None:
        """Refuse values that no model or client can have."""
        for name in ("n_parameters", "business_impact_minor_units"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                raise InvalidInput(name, "must be an integer")
        if self.n_parameters is not None and self.n_parameters < 1:
            raise InvalidInput("n_parameters", f"must be at least 1, got {self.n_parameters}")
        if self.business_impact_minor_units is not None and self.business_impact_minor_units < 0:
            raise InvalidInput("business_impact_minor_units", "must not be negative")
        if self.bayes_factor is not None and not self.bayes_factor >= 0:
            raise InvalidInput("bayes_factor", f"must be a number that is not negative, got {self.bayes_factor}")
        if self.log_bayes_factor is not None and math.isnan(self.log_bayes_factor):
            raise InvalidInput("log_bayes_factor", "must be a number")
        if self.client_confidence is not None and not 0 <= self.client_confidence <= 1:
            raise InvalidInput("client_confidence", f"must lie in [0, 1], got {self.client_confidence}")
        if self.bayes_factor is not None and self.log_bayes_factor is not None:
            same = _exp(self.log_bayes_factor)
            if not (same == self.bayes_factor or math.isclose(same, self.bayes_factor, rel_tol=1e-6)):
                raise InvalidInput("log_bayes_factor", "contradicts bayes_factor")


@dataclass(frozen=True)
class NecessityEvidence:
    """Optional evidence beside the policy; None is unknown and triggers nothing.

    certified_pass: a PASS is stored for this model or one on the same data; stale_pass: but model, prior, data, window
    or version have changed since; posterior_pass: a PASS that still holds had truths from the posterior. divergences,
    r_hat and ess are those of the production fit.
    """

    certified_pass: bool | None = None
    stale_pass: bool | None = None
    posterior_pass: bool | None = None
    divergences: int | None = None
    r_hat: float | None = None
    ess: float | None = None
    approximate_inference: bool | None = None
    custom_likelihood: bool | None = None
    multimodal: bool | None = None
    data_dependent_scaling: bool | None = None


@dataclass(frozen=True)
class RuleResult:
    """One rule of the policy: triggered iff `observed operator threshold`; None when the input is missing.

    margin: how far the observed value is beyond the threshold in the rule's direction, in the input's units (<= 0 when
    not triggered). near_miss: within 10 % of the threshold, on either side.
    """

    rule: Rule
    field: str
    operator: str
    threshold: float
    observed: float | None
    triggered: bool | None
    margin: float | None
    near_miss: bool


@dataclass(frozen=True)
class Change:
    """A change that would change the answer: the field named comes to be `operator` `threshold` (e.g. <= 10).

    margin is how far the field has to move (0 where just crossing is enough; None where it is missing). All changes
    with the same `leads_to` and `together` are needed together; otherwise each is enough alone.
    """

    field: str
    operator: str
    threshold: float
    margin: float | None
    leads_to: Decision
    together: bool


@dataclass(frozen=True)
class NecessityDecision:
    """The answer, a pure function of inputs, evidence and policy.

    satisfied: a certified PASS of the same model is at hand and nothing speaks for another run.
    simulations is 0 with ValidationType.NONE.
    """

    decision: Decision
    basis: str
    rules: tuple[RuleResult, ...]
    triggered: tuple[Rule, ...]
    missing: tuple[str, ...]
    evidence: tuple[EvidenceTrigger, ...]
    satisfied: bool
    validation_type: ValidationType
    simulations: int
    changes: tuple[Change, ...]
    policy_id: str
    policy_version: int
    policy_hash: str


def check_necessity(
    inputs: NecessityInputs, evidence: NecessityEvidence | None = None, policy: NecessityPolicy = POLICY_V1
) -> NecessityDecision:
    """Decide by Kleene's any-of: one true rule suffices, and nothing is ruled out while an input is missing."""
    if inputs.business_impact_minor_units is not None and inputs.currency != policy.currency:
        raise InvalidInput("currency", f"must be {policy.currency}, got {inputs.currency!r}")
    rules = _rules(inputs, policy)
    triggered = tuple(result for result in rules if result.triggered)
    missing = tuple(result.field for result in rules if result.triggered is None)
    if triggered:
        decision = Decision.ESSENTIAL
    else:
        decision = Decision.UNDETERMINED if missing else Decision.NOT_REQUIRED_BY_POLICY

    signs = _evidence_triggers(evidence or NecessityEvidence(), policy)
    conflict = any(result.rule is Rule.CONFLICT_SEVERITY for result in triggered)
    # A conflict puts the posterior where the prior's simulations hardly come.
    passed = evidence is not None and (evidence.posterior_pass if conflict else evidence.certified_pass)
    satisfied = bool(passed) and not signs
    kind, simulations = _recommendation(decision, triggered, signs, satisfied, policy)
    return NecessityDecision(
        decision=decision,
        basis="POLICY",
        rules=rules,
        triggered=tuple(result.rule for result in triggered),
        missing=missing,
        evidence=signs,
        satisfied=satisfied,
        validation_type=kind,
        simulations=simulations,
        changes=_changes(decision, rules),
        policy_id=policy.id,
        policy_version=policy.version,
        policy_hash=policy.hash,
    )


def _rules(inputs: NecessityInputs, policy: NecessityPolicy) -> tuple[RuleResult, ...]:
    factor = inputs.bayes_factor
    if factor is None and inputs.log_bayes_factor is not None:
        factor = _exp(inputs.log_bayes_factor)
        # exp may land on the wrong side of the threshold by rounding: the log decides
        limit = policy.max_bayes_factor
        if inputs.log_bayes_factor > math.log(limit):
            factor = max(factor, math.nextafter(limit, math.inf))
        else:
            factor = min(factor, limit)
    if inputs.bayes_factor_partial and factor is not None and not factor > policy.max_bayes_factor:
        factor = None  # what is known is small; what is not may be anything
    return (
        _above(Rule.MODEL_COMPLEXITY, "n_parameters", inputs.n_parameters, policy.max_parameters, policy),
        _above(Rule.CONFLICT_SEVERITY, "bayes_factor", factor, policy.max_bayes_factor, policy),
        _above(
            Rule.BUSINESS_IMPACT,
            "business_impact_minor_units",
            inputs.business_impact_minor_units,
            policy.max_impact_minor_units,
            policy,
        ),
        _result(
            Rule.CLIENT_CONFIDENCE,
            "client_confidence",
            "<",
            inputs.client_confidence,
            policy.min_confidence,
            lambda x: policy.min_confidence - x,
            policy,
        ),
    )


def _above(rule: Rule, field: str, observed: float | None, threshold: float, policy: NecessityPolicy) -> RuleResult:
    return _result(rule, field, ">", observed, threshold, lambda x: x - threshold, policy)


def _result(
    rule: Rule,
    field: str,
    operator: str,
    observed: float | None,
    threshold: float,
    margin_of: Callable[[float], float],
    policy: NecessityPolicy,
) -> RuleResult:
    if observed is None:
        return RuleResult(rule, field, operator, threshold, None, None, None, near_miss=False)
    margin = margin_of(observed)
    near = abs(margin) <= policy.near_miss * threshold * (1 + 1e-12)
    return RuleResult(rule, field, operator, threshold, observed, margin > 0, margin, near)


def _evidence_triggers(evidence: NecessityEvidence, policy: NecessityPolicy) -> tuple[EvidenceTrigger, ...]:
    triggers = {
        EvidenceTrigger.NO_CERTIFIED_PASS: evidence.certified_pass is False,
        EvidenceTrigger.STALE_PASS: evidence.stale_pass is True,
        EvidenceTrigger.DIVERGENCES: evidence.divergences is not None and evidence.divergences > 0,
        # a diagnostic that is not a number is a bad one
        EvidenceTrigger.R_HAT: evidence.r_hat is not None and not evidence.r_hat <= policy.max_r_hat,
        EvidenceTrigger.LOW_ESS: evidence.ess is not None and not evidence.ess >= policy.min_ess,
        EvidenceTrigger.APPROXIMATE_INFERENCE: evidence.approximate_inference is True,
        EvidenceTrigger.CUSTOM_LIKELIHOOD: evidence.custom_likelihood is True,
        EvidenceTrigger.MULTIMODAL: evidence.multimodal is True,
        EvidenceTrigger.DATA_DEPENDENT_SCALING: evidence.data_dependent_scaling is True,
    }
    return tuple(trigger for trigger, present in triggers.items() if present)


def _recommendation(
    decision: Decision,
    triggered: tuple[RuleResult, ...],
    signs: tuple[EvidenceTrigger, ...],
    satisfied: bool,
    policy: NecessityPolicy,
) -> tuple[ValidationType, int]:
    """Return the run that is advised and its size.

    Conflict asks for posterior SBC, since prior SBC mostly tests other data. Money, or several rules at once, ask for
    the large run. Without a rule, evidence or a missing input asks for the smallest run that can find gross errors.
    """
    if satisfied:
        return ValidationType.NONE, 0
    if decision is Decision.ESSENTIAL:
        rules = {result.rule for result in triggered}
        large = Rule.BUSINESS_IMPACT in rules or len(rules) > 1
        simulations = policy.comprehensive_simulations if large else policy.standard_simulations
        if Rule.CONFLICT_SEVERITY in rules:
            return ValidationType.POSTERIOR, simulations
        return (ValidationType.COMPREHENSIVE if large else ValidationType.STANDARD), simulations
    if signs and set(signs) != {EvidenceTrigger.NO_CERTIFIED_PASS}:
        return ValidationType.STANDARD, policy.standard_simulations
    if signs or decision is Decision.UNDETERMINED:
        return ValidationType.QUICK, policy.quick_simulations
    return ValidationType.NONE, 0


def _changes(decision: Decision, rules: tuple[RuleResult, ...]) -> tuple[Change, ...]:
    off = {">": "<=", "<": ">="}
    if decision is Decision.ESSENTIAL:
        active = [result for result in rules if result.triggered]
        leads_to = (
            Decision.UNDETERMINED
            if any(result.triggered is None for result in rules)
            else Decision.NOT_REQUIRED_BY_POLICY
        )
        return tuple(
            Change(
                result.field, off[result.operator], result.threshold, result.margin, leads_to, together=len(active) > 1
            )
            for result in active
        )
    towards = [
        Change(
            result.field,
            result.operator,
            result.threshold,
            None if result.margin is None else -result.margin,
            Decision.ESSENTIAL,
            together=False,
        )
        for result in rules
    ]
    absent = [result for result in rules if result.triggered is None]
    away = [
        Change(
            result.field,
            off[result.operator],
            result.threshold,
            None,
            Decision.NOT_REQUIRED_BY_POLICY,
            together=len(absent) > 1,
        )
        for result in absent
    ]
    return tuple(towards + away)


def _exp(log: float) -> float:
    try:
        return math.exp(log)
    except OverflowError:
        return math.inf
