"""What beliefs imply before they meet the data, in words."""

from __future__ import annotations

from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2, elicitation_pb2

from server.contract.quantities import estimand, quantity_words
from server.texts.formats import decimals, shown

SUMMARY_PREDICTS_NOTHING = "The model is a summary: it has no outcomes to predict."
PREDICTIONS = (
    "Predictions take what no belief is about from the model's own priors, which are on the scale of the data."
)
ALL_MEDIA = "share of outcome of all media, channels without a belief under the model's own prior"


def about_thresholds(window: str) -> str:
    """What the thresholds are for, and how exact they are."""
    return (
        f"Thresholds are for the last {window} of data, whose outcome was not looked at. They are approximate: belief "
        "and data are taken for normal on the unconstrained scale of the quantity."
    )


def nothing_predicted(belief_ids: Sequence[str]) -> str:
    """Why there are no predictions: beliefs that no fit can have as its prior."""
    return (
        f"Nothing is predicted, since no fit can have {', '.join(belief_ids)} as its prior: thresholds of the "
        "others are under the model's reference prior of what it is about."
    )


def no_threshold(about: common_pb2.Estimand) -> str:
    """That the data could not call the belief wrong."""
    return (
        f"Data of this size can be expected to say next to nothing about the {estimand(about)}: they could not call "
        "the belief wrong."
    )


def explain_threshold(threshold: elicitation_pb2.BeliefThreshold, about: common_pb2.Estimand) -> str:
    """What the data would have to say to call the belief wrong."""
    quantity = about.quantity
    digits = decimals(threshold.expected_standard_error, quantity)
    ends = [f"below {shown(threshold.lower, quantity, digits)}"] if threshold.HasField("lower") else []
    ends += [f"above {shown(threshold.upper, quantity, digits)}"] if threshold.HasField("upper") else []
    wrong = " or ".join(ends) if ends else "nothing that they can"
    error = shown(threshold.expected_standard_error, quantity, digits)
    return (
        f"Data of this size can be expected to tell the {estimand(about)} with a standard error of {error}: "
        f"the belief would be called wrong if they said {wrong}."
    )


def stated_total(quantity: int, channels: Sequence[str]) -> str:
    """What the stated shares of channels sum to."""
    return f"stated {quantity_words(quantity)} of {' and '.join(channels)}"


def left_over(channels: Sequence[str]) -> str:
    """What the stated shares of outcome leave."""
    return f"share of outcome that {' and '.join(channels)} leave for everything else"


def no_predictions(family: str) -> str:
    """A note about a model of a family that has no outcomes to show."""
    return f"Models of the family {family} do not predict outcomes."
