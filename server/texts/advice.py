"""What is recommended for each belief, in words."""

from __future__ import annotations

from liftos.bayes.v1 import prior_update_pb2

from server.contract.quantities import estimand
from server.texts.phrases import spread


def summary_of(update: prior_update_pb2.PriorUpdate) -> list[str]:
    """What is recommended for each belief and why; rendered from the answer itself, so that words and numbers agree."""
    return [
        f"{_ADVICE[belief.action].format(what=_what(belief))} {belief.reasons[0] if belief.reasons else ''}".rstrip()
        for belief in update.beliefs
    ]


_ADVICE = {
    prior_update_pb2.UPDATE_ACTION_UNSPECIFIED: "{what}.",
    prior_update_pb2.UPDATE_ACTION_KEEP: "Keep the belief about the {what}.",
    prior_update_pb2.UPDATE_ACTION_UPDATE: "Update the belief about the {what}.",
    prior_update_pb2.UPDATE_ACTION_WIDEN: "Widen the belief about the {what}.",
    prior_update_pb2.UPDATE_ACTION_CHECK_MODEL: "Check the model before the belief about the {what} is changed.",
    prior_update_pb2.UPDATE_ACTION_RE_ELICIT: "Ask the client again about the {what}.",
    prior_update_pb2.UPDATE_ACTION_ROBUSTIFY: "Make the belief about the {what} robust.",
    prior_update_pb2.UPDATE_ACTION_RUN_EXPERIMENT: "Run an experiment on the {what}.",
}


def _what(belief: prior_update_pb2.BeliefUpdate) -> str:
    quantity = belief.estimand.quantity
    before, after = (spread(side, quantity) for side in (belief.before_summary, belief.after_summary))
    moved = f"{before}; by the strategy {after}" if belief.changed else before
    return f"{estimand(belief.estimand)} ({moved})"
