"""A recommended update as it is shown on a terminal."""

from __future__ import annotations

from liftos.bayes import normal, share_of_outcome
from liftos.bayes.v1 import common_pb2, prior_update_pb2

from server.command.printing import console, print_update


def estimate(mean: float) -> common_pb2.Estimate:
    return common_pb2.Estimate(
        mean=mean, median=mean, intervals=[common_pb2.Interval(level=0.95, lower=mean - 0.1, upper=mean + 0.1)]
    )


def shown(update: prior_update_pb2.PriorUpdate) -> str:
    with console.capture() as captured:
        console.width, before = 200, console.width
        print_update(update)
        console.width = before
    return captured.get()


def test_what_is_recommended_and_what_the_prior_is_worth_is_shown_and_experiments_only_where_there_are_some() -> None:
    belief = prior_update_pb2.BeliefUpdate(
        belief_id="tv",
        estimand=share_of_outcome("TV"),
        before_summary=estimate(0.5),
        data_side=estimate(0.25),
        after_summary=estimate(0.3),
        action=prior_update_pb2.UPDATE_ACTION_UPDATE,
        reasons=["The data contradict the belief.", "Posterior under the client's own prior."],
        prior_ess_months_before=6.0,
        projection=prior_update_pb2.Projection(
            distribution=normal(0.3, 0.04), kl_nats=0.02, max_cdf_error=0.07, refused=True, refusal="Too far apart."
        ),
    )
    update = prior_update_pb2.PriorUpdate(
        update_strategy=prior_update_pb2.UPDATE_STRATEGY_POWER_PRIOR, beliefs=[belief], summary=["Update the belief."]
    )
    text = shown(update)
    assert "POWER_PRIOR" in text
    assert "6 → –" in text
    assert "Update the belief." in text
    assert "tv: Posterior under the client's own prior." in text
    assert (
        "Nearest normal: 0.02 nats, distribution functions within 0.070. It must not stand in. Too far apart." in text
    )
    assert "experiments" not in text
    assert "NOT INFERENTIAL" not in text
    update.exploratory = True
    update.beliefs[0].experiment_side.CopyFrom(estimate(0.4))
    text = shown(update)
    assert "experiments" in text
    assert "40.0 %" in text
    assert "NOT INFERENTIAL" in text
