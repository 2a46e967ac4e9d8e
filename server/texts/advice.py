"""What is recommended for each belief, in words."""

from __future__ import annotations

from liftos.bayes.v1 import common_pb2, prior_update_pb2

from engine.rules.reasons import Ground, Grounds
from server.contract.quantities import estimand
from server.texts.both_sides import nowhere
from server.texts.law_shapes import shape_remark
from server.texts.phrases import reach, spread


def summary_of(update: prior_update_pb2.PriorUpdate) -> list[str]:
    """What is recommended for each belief and why; rendered from the answer itself, so that words and numbers agree."""
    return [
        f"{_ADVICE[belief.action].format(what=_what(belief))} {belief.reasons[0] if belief.reasons else ''}".rstrip()
        for belief in update.beliefs
    ]


_SAME = 1e-4
"""Part of a belief's interval by which a median may move and is still the same."""
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
    before, after = belief.before_summary, belief.after_summary
    if not belief.changed:
        told = spread(before, quantity)
    elif nowhere(before, belief.data_side, after):
        told = f"{spread(before, quantity)}; by the strategy where neither belief nor data are"
    elif _same_median(before, after):
        # A belief that is widened about its median: the mean of a skewed law would seem to move.
        told = f"{reach(before, quantity)}; by the strategy {reach(after, quantity)}"
    else:
        told = f"{spread(before, quantity)}; by the strategy {spread(after, quantity)}"
    remark = shape_remark(belief.after, quantity) if belief.changed else ""
    return f"{estimand(belief.estimand)} ({told}{f'. {remark[:-1]}' if remark else ''})"


def _same_median(before: common_pb2.Estimate, after: common_pb2.Estimate) -> bool:
    widths = [interval.upper - interval.lower for interval in before.intervals]
    return bool(widths) and abs(after.median - before.median) < _SAME * max(widths)


def explain_grounds(grounds: Grounds) -> str:
    """Why an action is recommended."""
    who = "Data and experiments together" if grounds.with_experiments else "The data"
    return _GROUNDS[grounds.ground].format(**vars(grounds), who=who)


_GROUNDS = {
    Ground.UNRELIABLE: (
        "The figures of the analysis are not reliable, so nothing follows for the belief: check the model first."
    ),
    Ground.EXPERIMENT_AGAINST_DATA: (
        "The experiments contradict what the data say under this model, {experiment_z:.1f} standard "
        "deviations apart: check the model before the two are taken together."
    ),
    Ground.MODEL: (
        "Another model explains the data better and resolves the conflict: check the model before the belief."
    ),
    Ground.OUTLIERS: "The conflict hangs on outlying rows: check these and the model before the belief.",
    Ground.UNDECIDED: (
        "Another model resolves the conflict and the data do not tell which is right: check the model before "
        "the belief."
    ),
    Ground.BOTH_FIRM: (
        "Belief and data are {z:.1f} standard deviations apart and both are well founded "
        "({belief_months:.3g} and {data_months:.3g} months' worth): neither can be talked down, only an "
        "experiment settles it."
    ),
    Ground.HIDDEN_DRIVER: (
        "{who} contradict the belief, but something that drives both spend and outcome and is missing from the data "
        "set could be the reason and cannot be excluded: an experiment settles it before the belief is moved."
    ),
    Ground.BETWEEN: (
        "{who} contradict the belief, {z:.1f} standard deviations apart, and what the strategy makes of both lies "
        "where neither of them is: no figure to rely on, only an experiment settles it."
    ),
    Ground.INCOHERENT: (
        "The shares that the client states miss their sum by {incoherence_z:.1f} standard deviations: ask "
        "for them again, all together."
    ),
    Ground.TOGETHER: (
        "The data contradict none of the beliefs alone, but all of them taken together, and this one is "
        "among those that clash: ask for them again, all together."
    ),
    Ground.RELIEVED: (
        "The data alone contradict the belief; with the experiments beside them the evidence against it does "
        "not reach the rule any more. That is no support for the belief: compare what each of the two says."
    ),
    Ground.SILENT: (
        "The data say too little to change the belief, and the answer hangs on it: what is believed is what comes out."
    ),
    Ground.NO_CONFLICT: "{who} do not contradict the belief.",
    Ground.LEARNING: "{who} do not contradict the belief; the strategy carries on what they say.",
    Ground.TAILS: (
        "{who} contradict the belief, but how strongly depends on how sure the client is of the tails: let "
        "the belief have heavier ones, as the strategy ROBUST_MIXTURE does."
    ),
    Ground.OVERCONFIDENT: (
        "{who} contradict the belief, which claims to be worth {belief_months:.3g} months of data where "
        "there are {data_months:.3g}: ask the client again how sure the belief is."
    ),
    Ground.LEFT: "{who} contradict the belief, but the strategy leaves it as it is.",
    Ground.CHANGED: "{who} contradict the belief.",
}
