"""Reasons that the engine gives as values and the service says in sentences."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Remedy(enum.Enum):
    """What would settle a conflict: look at what the changed models showed, or run an experiment."""

    CHECK_ROWS = "check_rows"
    GIVE_COLUMN = "give_column"
    ASK_AGAIN = "ask_again"
    """With the first cause's model, which explains the data better."""
    EXPERIMENT_BETWEEN_MODELS = "experiment_between_models"
    """The data do not tell which model is right."""
    EXPERIMENT_ON_COLLINEAR = "experiment_on_collinear"
    """The channel's exposure follows from the rest of the model."""
    EXPERIMENT_ON_DRIVER = "experiment_on_driver"
    """A driver of spend and outcome that the data lack cannot be excluded."""
    EXPERIMENT_BETWEEN_FIRM_SIDES = "experiment_between_firm_sides"
    """Belief and data are both too firm for either to be talked down."""


class Ground(enum.Enum):
    """Why an action is recommended for a belief: the rows of the table, in their order."""

    UNRELIABLE = "unreliable"
    EXPERIMENT_AGAINST_DATA = "experiment against data"
    MODEL = "model explains it"
    OUTLIERS = "outliers explain it"
    UNDECIDED = "undecided"
    BOTH_FIRM = "neither can be talked down"
    BETWEEN = "between both"
    INCOHERENT = "incoherent"
    TOGETHER = "together too much"
    RELIEVED = "relieved by experiments"
    SILENT = "silent data"
    NO_CONFLICT = "no conflict"
    LEARNING = "learning without conflict"
    TAILS = "hangs on the tails"
    OVERCONFIDENT = "overconfident"
    HIDDEN_DRIVER = "a hidden driver cannot be excluded"
    LEFT = "left as it is"
    CHANGED = "changed"


@dataclass(frozen=True)
class Grounds:
    """The ground of a recommendation with the figures that a sentence about it may name.

    with_experiments: whether the finding is that of data and experiments together; z, experiment_z, incoherence_z: in
    standard deviations; belief_months, data_months: what belief and data are worth, in months of data.
    """

    ground: Ground
    with_experiments: bool
    z: float
    belief_months: float
    data_months: float
    experiment_z: float | None
    incoherence_z: float | None
