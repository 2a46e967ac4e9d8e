"""What to do about a belief: an ordered table over everything that the analysis has found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.conflict.analysis import Finding
from engine.conflict.causes import Attribution
from engine.conflict.severity import Severity
from engine.updates.update import Action

STRONG_Z = 2.6
"""From this distance on two sides that are both well founded cannot be talked down (methods/conflict.md §12)."""
WELL_FOUNDED_MONTHS = 6.0
INCOHERENT_Z = 2.0
SENSITIVE = 0.05
"""Power-scaling shift per doubling, in posterior standard deviations, from which the answer hangs on the belief."""


@dataclass(frozen=True)
class Situation:
    """What is known about one belief when an action is recommended.

    Fields:
        finding, severity, severity_if_heavy_tailed: of the analysis; a severity is None where there is none.
        attribution: where a conflict comes from, None where nothing was tried.
        z: two-sided normal distance with the node-split p-value of belief and data.
        belief_months: what the belief is worth; data_months: what there is of data.
        prior_sensitivity: power-scaling shift of the posterior by the belief; None where it has no moments.
        joint_conflict: whether the beliefs are contradicted together though none is alone, and this one is among those
        that clash.
        data_finding: of the data alone, where `finding` is that of data and experiments together; else the same.
        incoherence_z: by how much the shares that this belief is one of miss their sum; None where it is none of such.
        experiment_z: distance of the experiments from the data, in standard deviations; None without any.
        outcome: what the strategy did: KEEP, UPDATE, WIDEN or ROBUSTIFY.
    """

    finding: Finding
    severity: Severity | None
    severity_if_heavy_tailed: Severity | None
    attribution: Attribution | None
    z: float
    belief_months: float
    data_months: float
    prior_sensitivity: float | None
    joint_conflict: bool
    incoherence_z: float | None
    experiment_z: float | None
    outcome: Action
    data_finding: Finding | None = None

    @property
    def in_conflict(self) -> bool:
        """Whether the data contradict the belief."""
        return self.finding is Finding.CONFLICT

    @property
    def who(self) -> str:
        """What the evidence is that of."""
        return "The data" if self.experiment_z is None else "Data and experiments together"

    @property
    def hangs_on_tails(self) -> bool:
        """Whether the label is another with heavy tails of the belief."""
        heavy = self.severity_if_heavy_tailed
        return heavy is not None and self.severity is not None and heavy is not self.severity

    @property
    def hangs_on_belief(self) -> bool:
        """Whether the answer of belief and data together would move if the belief counted for more."""
        return self.prior_sensitivity is not None and abs(self.prior_sensitivity) >= SENSITIVE


@dataclass(frozen=True)
class Row:
    """A row of the table: when it applies, what to do (None: what the strategy did), and why, in a sentence."""

    name: str
    applies: Callable[[Situation], bool]
    action: Action | None
    reason: str


@dataclass(frozen=True)
class Recommendation:
    """What to do, the sentence why, and the name of the row that said so."""

    action: Action
    reason: str
    row: str


TABLE: tuple[Row, ...] = (
    Row(
        "unreliable",
        lambda s: s.finding is Finding.UNRELIABLE,
        Action.CHECK_MODEL,
        "The figures of the analysis are not reliable, so nothing follows for the belief: check the model first.",
    ),
    Row(
        "experiment against data",
        lambda s: s.experiment_z is not None and s.experiment_z > STRONG_Z,
        Action.CHECK_MODEL,
        "The experiments contradict what the data say under this model, {experiment_z:.1f} standard deviations apart: "
        "check the model before the two are taken together.",
    ),
    Row(
        "model explains it",
        lambda s: s.in_conflict and s.attribution is Attribution.MODEL,
        Action.CHECK_MODEL,
        "Another model explains the data better and resolves the conflict: check the model before the belief.",
    ),
    Row(
        "outliers explain it",
        lambda s: s.in_conflict and s.attribution is Attribution.OUTLIERS,
        Action.CHECK_MODEL,
        "The conflict hangs on outlying rows: check these and the model before the belief.",
    ),
    Row(
        "undecided",
        lambda s: s.in_conflict and s.attribution is Attribution.UNDECIDED,
        Action.CHECK_MODEL,
        "Another model resolves the conflict and the data do not tell which is right: check the model before the "
        "belief.",
    ),
    Row(
        "neither can be talked down",
        lambda s: (
            s.z > STRONG_Z and min(s.belief_months, s.data_months) > WELL_FOUNDED_MONTHS and s.experiment_z is None
        ),
        Action.RUN_EXPERIMENT,
        "Belief and data are {z:.1f} standard deviations apart and both are well founded ({belief_months:.3g} and "
        "{data_months:.3g} months' worth): neither can be talked down, only an experiment settles it.",
    ),
    Row(
        "incoherent",
        lambda s: s.incoherence_z is not None and s.incoherence_z > INCOHERENT_Z,
        Action.RE_ELICIT,
        "The shares that the client states miss their sum by {incoherence_z:.1f} standard deviations: ask for them "
        "again, all together.",
    ),
    Row(
        "together too much",
        lambda s: not s.in_conflict and s.joint_conflict,
        Action.RE_ELICIT,
        "The data contradict none of the beliefs alone, but all of them taken together, and this one is among those "
        "that clash: ask for them again, all together.",
    ),
    Row(
        "relieved by experiments",
        lambda s: not s.in_conflict and s.data_finding is Finding.CONFLICT,
        None,
        "The data alone contradict the belief; with the experiments beside them the evidence against it does not reach "
        "the rule any more. That is no support for the belief: compare what each of the two says.",
    ),
    Row(
        "silent data",
        lambda s: s.finding is Finding.DATA_SILENT and s.outcome is Action.KEEP and s.hangs_on_belief,
        Action.KEEP,
        "The data say too little to change the belief, and the answer hangs on it: what is believed is what comes out.",
    ),
    Row(
        "no conflict",
        lambda s: not s.in_conflict and s.outcome is Action.KEEP,
        Action.KEEP,
        "{who} do not contradict the belief.",
    ),
    Row(
        "learning without conflict",
        lambda s: not s.in_conflict,
        None,
        "{who} do not contradict the belief; the strategy carries on what they say.",
    ),
    Row(
        "hangs on the tails",
        lambda s: s.hangs_on_tails,
        Action.ROBUSTIFY,
        "{who} contradict the belief, but how strongly depends on how sure the client is of the tails: let the belief "
        "have heavier ones, as the strategy ROBUST_MIXTURE does.",
    ),
    Row(
        "overconfident",
        lambda s: s.belief_months > s.data_months,
        Action.RE_ELICIT,
        "{who} contradict the belief, which claims to be worth {belief_months:.3g} months of data where there are "
        "{data_months:.3g}: ask the client again how sure the belief is.",
    ),
    Row(
        "left as it is",
        lambda s: s.outcome is Action.KEEP,
        Action.KEEP,
        "{who} contradict the belief, but the strategy leaves it as it is.",
    ),
    Row(
        "changed",
        lambda s: True,
        None,
        "{who} contradict the belief.",
    ),
)
"""The first row that applies counts; the last always does."""


def recommend(situation: Situation) -> Recommendation:
    """The first row of the table that applies."""
    row = next(row for row in TABLE if row.applies(situation))
    return Recommendation(
        row.action or situation.outcome, row.reason.format(**vars(situation), who=situation.who), row.name
    )
