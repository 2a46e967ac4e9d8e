"""What the options of the contract cannot say about a stated belief."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from liftos.bayes.v1 import elicitation_pb2

from server.contract.beyond_rules import check_distribution
from server.contract.errors import invalid_field
from server.contract.quantities import WHOLES

_NOT_FITTED = frozenset({"distribution", "pooled", "updated_prior"})


def check_statement(path: str, statement: elicitation_pb2.BeliefStatement) -> None:
    """Check what the options of the contract cannot; raises ServiceError with the path of the field."""
    form = str(statement.WhichOneof("form"))
    if statement.family and form in _NOT_FITTED:
        raise invalid_field(f"{path}.family", f"must be absent: a statement in the form {form} is what it is")
    inner = f"{path}.{form}"
    match form:
        case "mean_plus_minus":
            _check_meaning(inner, statement.mean_plus_minus)
        case "quantiles":
            if len(statement.quantiles.probabilities) != len(statement.quantiles.values):
                raise invalid_field(f"{inner}.values", "one value for each probability")
            for name in ("probabilities", "values"):
                _check_increasing(f"{inner}.{name}", getattr(statement.quantiles, name))
        case "range":
            _check_increasing(f"{inner}.upper", (statement.range.lower, statement.range.upper), "must be above lower")
            if statement.range.HasField("mean") and statement.range.HasField("mode"):
                raise invalid_field(f"{inner}.mode", "at most one of mean and mode")
        case "roulette":
            if len(statement.roulette.edges) != len(statement.roulette.chips) + 1:
                raise invalid_field(f"{inner}.edges", "one more than chips: the edges of the bins that these lie on")
            _check_increasing(f"{inner}.edges", statement.roulette.edges)
        case "mode_and_bounds":
            bounds = statement.mode_and_bounds
            _check_increasing(f"{inner}.upper", (bounds.lower, bounds.upper), "must be above lower")
            if not bounds.lower <= bounds.mode <= bounds.upper:
                raise invalid_field(f"{inner}.mode", "must lie between lower and upper")
        case "distribution":
            check_distribution(inner, statement.distribution)
        case "pooled" | "updated_prior":
            pass  # what they name is looked up, and checked, where they are compiled
        case _:
            raise AssertionError(f"a statement in the form {form} is not checked")


def _check_increasing(path: str, numbers: Iterable[float], message: str = "strictly increasing") -> None:
    if any(later <= earlier for earlier, later in pairwise(numbers)):
        raise invalid_field(path, message)


def _check_meaning(path: str, stated: elicitation_pb2.MeanPlusMinus) -> None:
    interval = stated.meaning == elicitation_pb2.PLUS_MINUS_MEANING_INTERVAL_HALF_WIDTH
    if interval and not stated.HasField("level"):
        raise invalid_field(f"{path}.level", "required with INTERVAL_HALF_WIDTH")
    if not interval and stated.HasField("level"):
        raise invalid_field(f"{path}.level", "forbidden with SD")


def check_shares(request: elicitation_pb2.AddShareBeliefsRequest) -> None:
    """Check what the options of the contract cannot: which shares, each channel once, and what their "±" means."""
    if request.quantity not in WHOLES:
        raise invalid_field("quantity", "SHARE_OF_OUTCOME or SHARE_OF_MEDIA")
    for index, share in enumerate(request.shares):
        _check_meaning(f"shares[{index}].share", share.share)
        for name in ("belief_id", "channel"):
            if any(getattr(other, name) == getattr(share, name) for other in request.shares[:index]):
                raise invalid_field(f"shares[{index}].{name}", f"{getattr(share, name)!r} is used twice")
