"""What the options of the contract cannot say about the settings of an update."""

from __future__ import annotations

from collections.abc import Sequence

from liftos.bayes.rules import Violation
from liftos.bayes.v1 import elicitation_pb2, prior_update_pb2

from server.contract.beyond_rules import check_estimate
from server.contract.errors import invalid_field, invalid_fields
from server.contract.quantities import estimand
from server.contract.wire import label

_OWN_FIELDS = {
    "power": prior_update_pb2.UPDATE_STRATEGY_POWER_PRIOR,
    "robust_weight": prior_update_pb2.UPDATE_STRATEGY_ROBUST_MIXTURE,
    "without_gate": prior_update_pb2.UPDATE_STRATEGY_EVIDENCE_WEIGHTED,
    "conservative_p_value": prior_update_pb2.UPDATE_STRATEGY_CONSERVATIVE,
}
"""Fields of a request that one strategy alone has a use for."""


def chosen_strategy(request: prior_update_pb2.UpdatePriorsRequest) -> prior_update_pb2.UpdateStrategy.ValueType:
    """The strategy of a request; EVIDENCE_WEIGHTED unless one is named."""
    return request.update_strategy or prior_update_pb2.UPDATE_STRATEGY_EVIDENCE_WEIGHTED


def check_settings(request: prior_update_pb2.UpdatePriorsRequest) -> None:
    """Refuse settings of another strategy than the one asked for: they would change nothing without a word."""
    given = {descriptor.name for descriptor, _ in request.ListFields()}
    strategy = chosen_strategy(request)
    violations = [
        Violation(name, f"is for {label(prior_update_pb2.UpdateStrategy, own)} alone")
        for name, own in _OWN_FIELDS.items()
        if name in given and strategy != own
    ]
    if violations:
        raise invalid_fields(violations)


def check_experiments(request: prior_update_pb2.UpdatePriorsRequest, beliefs: Sequence[elicitation_pb2.Belief]) -> None:
    """Refuse experiments about nothing that the session has a belief about, or that would count twice."""
    by_quantity = {(belief.estimand.quantity, belief.estimand.channel): belief for belief in beliefs}
    seen: set[str] = set()
    for index, experiment in enumerate(request.experiments):
        path = f"experiments[{index}]"
        if experiment.experiment_id in seen:
            raise invalid_field(f"{path}.experiment_id", f"{experiment.experiment_id!r} is in the request twice")
        seen.add(experiment.experiment_id)
        belief = by_quantity.get((experiment.estimand.quantity, experiment.estimand.channel))
        if belief is None:
            raise invalid_field(
                f"{path}.estimand",
                f"no belief of the session is about the {estimand(experiment.estimand)}; state the experiment for the "
                "quantity of a belief",
            )
        check_estimate(f"{path}.estimate", experiment)
        if (
            experiment.window.first_date
            and experiment.window.last_date
            and experiment.window.first_date > experiment.window.last_date
        ):
            raise invalid_field(f"{path}.window.last_date", "must not be before first_date")
