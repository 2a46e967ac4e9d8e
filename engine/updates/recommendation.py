"""What to do about a belief: an ordered table over everything that the analysis has found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.conflict.analysis import Finding
from engine.conflict.causes import Blame
from engine.conflict.severity import Severity
from engine.rules.compromises import STRONG_Z
from engine.rules.reasons import Ground, Grounds
from engine.updates.update import Action

WELL_FOUNDED_MONTHS = 6.0
INCOHERENT_Z = 2.0
SENSITIVE = 0.05
"""Power-scaling shift per doubling, in posterior standard deviations, from which the answer hangs on the belief."""


@dataclass(frozen=True)
class Situation:
    """What is known about one belief when an action is recommended.

    Fields:
        finding, severity, severity_if_heavy_tailed: of the analysis; a severity is None where there is none.
        blame: where a conflict comes from, None where nothing was tried.
        z: two-sided normal distance with the node-split p-value of belief and data.
        belief_months: what the belief is worth; data_months: what there is of data.
        prior_sensitivity: power-scaling shift of the posterior by the belief; None where it has no moments.
        joint_conflict: whether the beliefs are contradicted together though none is alone, and this one is among those
        that clash.
        data_finding: of the data alone, where `finding` is that of data and experiments together; else the same.
        incoherence_z: by how much the shares that this belief is one of miss their sum; None where it is none of such.
        experiment_z: distance of the experiments from the data, in standard deviations; None without any.
        outcome: what the strategy did: KEEP, UPDATE, WIDEN or ROBUSTIFY.
        between: whether what it made of the belief lies where neither belief nor data are.
    """

    finding: Finding
    severity: Severity | None
    severity_if_heavy_tailed: Severity | None
    blame: Blame | None
    z: float
    belief_months: float
    data_months: float
    prior_sensitivity: float | None
    joint_conflict: bool
    incoherence_z: float | None
    experiment_z: float | None
    outcome: Action
    data_finding: Finding | None = None
    between: bool = False

    @property
    def in_conflict(self) -> bool:
        """Whether the data contradict the belief."""
        return self.finding is Finding.CONFLICT

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
    """A row of the table: why, when it applies, and what to do (None: what the strategy did)."""

    ground: Ground
    applies: Callable[[Situation], bool]
    action: Action | None


@dataclass(frozen=True)
class Recommendation:
    """What to do, and why."""

    action: Action
    grounds: Grounds


TABLE: tuple[Row, ...] = (
    Row(Ground.UNRELIABLE, lambda s: s.finding is Finding.UNRELIABLE, Action.CHECK_MODEL),
    Row(
        Ground.EXPERIMENT_AGAINST_DATA,
        lambda s: s.experiment_z is not None and s.experiment_z > STRONG_Z,
        Action.CHECK_MODEL,
    ),
    Row(Ground.MODEL, lambda s: s.in_conflict and s.blame is Blame.MODEL, Action.CHECK_MODEL),
    Row(Ground.OUTLIERS, lambda s: s.in_conflict and s.blame is Blame.OUTLIERS, Action.CHECK_MODEL),
    Row(Ground.UNDECIDED, lambda s: s.in_conflict and s.blame is Blame.UNDECIDED, Action.CHECK_MODEL),
    Row(
        Ground.BOTH_FIRM,
        lambda s: (
            s.z > STRONG_Z and min(s.belief_months, s.data_months) > WELL_FOUNDED_MONTHS and s.experiment_z is None
        ),
        Action.RUN_EXPERIMENT,
    ),
    Row(Ground.BETWEEN, lambda s: s.in_conflict and s.between, Action.RUN_EXPERIMENT),
    Row(Ground.INCOHERENT, lambda s: s.incoherence_z is not None and s.incoherence_z > INCOHERENT_Z, Action.RE_ELICIT),
    Row(Ground.TOGETHER, lambda s: not s.in_conflict and s.joint_conflict, Action.RE_ELICIT),
    Row(Ground.RELIEVED, lambda s: not s.in_conflict and s.data_finding is Finding.CONFLICT, None),
    Row(
        Ground.SILENT,
        lambda s: s.finding is Finding.DATA_SILENT and s.outcome is Action.KEEP and s.hangs_on_belief,
        Action.KEEP,
    ),
    Row(Ground.NO_CONFLICT, lambda s: not s.in_conflict and s.outcome is Action.KEEP, Action.KEEP),
    Row(Ground.LEARNING, lambda s: not s.in_conflict, None),
    Row(Ground.TAILS, lambda s: s.hangs_on_tails, Action.ROBUSTIFY),
    Row(Ground.OVERCONFIDENT, lambda s: s.belief_months > s.data_months, Action.RE_ELICIT),
    Row(
        Ground.HIDDEN_DRIVER,
        lambda s: s.blame is Blame.PRIOR_OR_DRIVER and s.experiment_z is None and s.outcome is not Action.KEEP,
        Action.RUN_EXPERIMENT,
    ),
    Row(Ground.LEFT, lambda s: s.outcome is Action.KEEP, Action.KEEP),
    Row(Ground.CHANGED, lambda s: True, None),
)
"""The first row that applies counts; the last always does."""


def recommend(situation: Situation) -> Recommendation:
    """The first row of the table that applies."""
    row = next(row for row in TABLE if row.applies(situation))
    return Recommendation(
        row.action or situation.outcome,
        Grounds(
            row.ground,
            with_experiments=situation.experiment_z is not None,
            z=situation.z,
            belief_months=situation.belief_months,
            data_months=situation.data_months,
            experiment_z=situation.experiment_z,
            incoherence_z=situation.incoherence_z,
        ),
    )
