"""Judgement on a whole run: the verdicts of its parts, and whether its canaries were noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.errors import InvalidInput
from engine.rules.sbc_presets import Part
from engine.sbc.ledger import RankLedger
from engine.sbc.verdict import Outcome, Reason, Verdict, in_words, verdict
from engine.sbc.verdict_rules import RULES, VerdictRules


@dataclass(frozen=True)
class PartRecord:
    """What is known of a part: the simulations in its ledger, and the numbers that were planned.

    ledger: None before the first simulation; planned: ascending, one number more for every extension
    shared_p: p-value of `shared_numbers` over the simulations that were planned first, None where it was not tested.
    """

    part: Part
    ledger: RankLedger | None
    planned: tuple[int, ...]
    shared_p: float | None = None


@dataclass(frozen=True)
class Judgement:
    """Outcome of a run, a pure function of its ledgers and its plan.

    verdicts: of the parts that have simulations, canaries included; a canary's verdict should be FAIL
    undetected: the canaries that are complete and that the check did not notice; reasons: sentences; named: the same
        by name, once each; sentence: all in words
    """

    outcome: Outcome
    verdicts: Mapping[Part, Verdict]
    undetected: tuple[Part, ...]
    reasons: tuple[str, ...]
    named: tuple[Reason, ...]
    sentence: str


def rules_of(parts: Sequence[Part], alpha: float) -> VerdictRules:
    """The rules of every part: those that decide share alpha, so that it holds for the run.

    Canaries are judged by the same rules, since it is this very check that they vouch for.
    """
    return VerdictRules.of(alpha, sum(part.decides for part in parts))


def judge(records: Sequence[PartRecord], alpha: float = RULES.alpha, *, may_pass: bool = True) -> Judgement:
    """Judge a run of the given parts with a family-wise error rate of alpha over all of them.

    FAIL if a part fails that decides. PASS only if every such part passes and every canary was noticed: a check that
    overlooks a known error of this size on this model says nothing when it finds none. Without `may_pass` a run is
    for finding errors only. At an alpha below .05 there is no PASS either, since it would be the easier to get.
    """
    parts = [record.part for record in records]
    if len(set(parts)) < len(parts) or not any(part.decides for part in parts):
        raise InvalidInput("records", "need a part that decides, and no part twice")
    if Part.RECOVERY in parts:
        raise InvalidInput("records", "a run at a fixed truth is a report, not a verdict")
    verdicts = {}
    for record in records:
        if record.ledger is not None:
            # Of a run that was stopped the simulations behind a gap have no say, in whatever order they came.
            rows = record.ledger.prefix()
            verdicts[record.part] = verdict(
                rows, record.planned[-1], rules_of(parts, alpha), record.planned[:-1], record.shared_p
            )
    deciding = {part: ruling for part, ruling in verdicts.items() if not part.is_canary}
    noticed = [part for part, ruling in verdicts.items() if part.is_canary and ruling.outcome is Outcome.FAIL]
    missed = [part for part in parts if part.is_canary and part not in noticed]
    undetected = tuple(part for part in missed if part in verdicts and verdicts[part].done == verdicts[part].planned)
    several = sum(not part.is_canary for part in parts) > 1
    sentences = [
        f"{_NAMES[part]}: {ruling.sentence}" if several else ruling.sentence for part, ruling in deciding.items()
    ]
    failed = [(part, ruling) for part, ruling in deciding.items() if ruling.outcome is Outcome.FAIL]
    told = failed or list(deciding.items())
    reasons = [_reason(part, clause, several) for part, ruling in told for clause in ruling.clauses]
    named = [reason for _, ruling in told for reason in ruling.reasons]
    if failed:
        return Judgement(
            Outcome.FAIL, verdicts, undetected, tuple(reasons), tuple(dict.fromkeys(named)), " ".join(sentences)
        )

    waiting = [part for part in parts if not part.is_canary and part not in verdicts]
    reasons += [f"{_NAMES[part]}: no simulation yet." for part in waiting]
    named += [Reason.INCOMPLETE] * bool(waiting)
    further = [
        (Reason.CANARY_UNNOTICED if part in undetected else Reason.CANARY_UNFINISHED, _NAMES[part]) for part in missed
    ]
    if not may_pass:
        further.append((Reason.QUICK_RUN, ""))
    if alpha < RULES.alpha:
        further.append((Reason.SMALL_ALPHA, f"{alpha:g} is easier than one at {RULES.alpha:g}"))
    clauses = [in_words(reason, what) for reason, what in further]
    beside = [f"{clause[0].upper()}{clause[1:]}." for clause in clauses]
    named += [reason for reason, _ in further]
    if noticed:
        sentences.append(f"On the same model the check noticed {_listed([_NAMES[part] for part in noticed])}.")
    outcome = Outcome.INCONCLUSIVE if named else Outcome.PASS
    return Judgement(
        outcome,
        verdicts,
        undetected,
        (*reasons, *beside),
        tuple(dict.fromkeys(named)),
        " ".join([*sentences, *beside]),
    )


_NAMES = {
    Part.PRIOR: "Truths from the prior",
    Part.POSTERIOR: "Truths from the posterior",
    Part.RECOVERY: "A fixed truth",
    Part.CANARY_NARROW_POSTERIOR: "a posterior a fifth too narrow",
    Part.CANARY_HALF_DATA: "an inference that ignores every other observation",
    Part.CANARY_LAGGED_MEDIA: "media that act one period late",
    Part.CANARY_PRIOR_AS_POSTERIOR: "an inference that returns the prior",
}


def _reason(part: Part, clause: str, several: bool) -> str:
    return f"{_NAMES[part]}: {clause}." if several else f"{clause[0].upper()}{clause[1:]}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
