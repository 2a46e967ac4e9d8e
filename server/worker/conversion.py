"""The border between contract and engine: distributions, curves, estimates and figures, both ways."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from liftos.bayes.v1 import common_pb2, elicitation_pb2

from engine.arrays import Floats
from engine.conflict.analysis import Summary
from engine.distributions import distribution as law
from engine.distributions.product import product
from engine.errors import InvalidInput
from server.contract.wire import from_array, to_array

LEVELS = (0.5, 0.8, 0.95)
"""Levels of the central intervals in every estimate."""


def to_law(message: common_pb2.Distribution, field: str = "distribution") -> law.Distribution:
    """The engine's distribution of a message; InvalidInput with the path of the parameter to blame."""
    kind = message.WhichOneof("kind")
    try:
        match kind:
            case "normal":
                return law.Normal(message.normal.mean, message.normal.sd)
            case "log_normal":
                return law.LogNormal(message.log_normal.log_mean, message.log_normal.log_sd)
            case "beta":
                return law.Beta(message.beta.alpha, message.beta.beta)
            case "truncated_normal":
                truncated = message.truncated_normal
                return law.TruncatedNormal(truncated.location, truncated.scale, truncated.lower, truncated.upper)
            case "half_normal":
                return law.HalfNormal(message.half_normal.scale)
            case "gamma":
                return law.Gamma(message.gamma.shape, message.gamma.rate)
            case "student_t":
                return law.StudentT(message.student_t.df, message.student_t.location, message.student_t.scale)
            case "uniform":
                return law.Uniform(message.uniform.lower, message.uniform.upper)
            case "mixture":
                return _mixture(message.mixture, f"{field}.mixture.components")
            case "gridded":
                gridded = message.gridded
                return law.Gridded(
                    gridded.lower,
                    gridded.upper,
                    tuple(from_array(gridded.grid)),
                    tuple(from_array(gridded.log_density)),
                )
    except InvalidInput as error:
        raise InvalidInput(
            error.field if "." in error.field else f"{field}.{kind}.{error.field}", error.message
        ) from None
    except ValueError as error:  # an array whose bytes do not match its shape
        raise InvalidInput(f"{field}.{kind}", str(error)) from None
    if kind is None:
        raise InvalidInput(field, "no family is given")
    raise AssertionError(f"there is no law of the kind {kind}")


def _mixture(message: common_pb2.Mixture, field: str) -> law.Mixture:
    """The law of a mixture; a component of weight 0 is as if it were absent, but for being a law itself."""
    total = math.fsum(part.weight for part in message.components)
    if not total > 0.0:
        raise InvalidInput(field, "must have a weight above 0 among them")
    laws = [to_law(part.distribution, f"{field}[{i}].distribution") for i, part in enumerate(message.components)]
    present = [(part.weight / total, one) for part, one in zip(message.components, laws, strict=True) if part.weight]
    return law.Mixture(*zip(*present, strict=True))


def belief_law(belief: elicitation_pb2.Belief, reference: law.Distribution, field: str) -> law.Distribution:
    """The law that a belief puts in the place of its quantity's marginal prior: itself, or as a factor the product."""
    stated = to_law(belief.compiled, field)
    match belief.role:
        case elicitation_pb2.BELIEF_ROLE_EXTRA_FACTOR:
            return product(reference, stated)
        case elicitation_pb2.BELIEF_ROLE_MARGINAL_REPLACEMENT | elicitation_pb2.BELIEF_ROLE_UNSPECIFIED:
            return stated
        case other:
            raise AssertionError(f"there is no law of a belief in the role {other}")


def from_law(distribution: law.Distribution) -> common_pb2.Distribution:
    """The message of an engine's distribution."""
    message = common_pb2.Distribution()
    match distribution:
        case law.Normal():
            message.normal.mean, message.normal.sd = distribution.mean, distribution.sd
        case law.LogNormal():
            message.log_normal.log_mean, message.log_normal.log_sd = distribution.log_mean, distribution.log_sd
        case law.Beta():
            message.beta.alpha, message.beta.beta = distribution.alpha, distribution.beta
        case law.TruncatedNormal():
            message.truncated_normal.location = distribution.location
            message.truncated_normal.scale = distribution.scale
            message.truncated_normal.lower = distribution.lower
            message.truncated_normal.upper = distribution.upper
        case law.HalfNormal():
            message.half_normal.scale = distribution.scale
        case law.Gamma():
            message.gamma.shape, message.gamma.rate = distribution.shape, distribution.rate
        case law.StudentT():
            message.student_t.df = distribution.df
            message.student_t.location, message.student_t.scale = distribution.location, distribution.scale
        case law.Uniform():
            message.uniform.lower, message.uniform.upper = distribution.lower, distribution.upper
        case law.Mixture():
            for weight, component in zip(distribution.weights, distribution.components, strict=True):
                message.mixture.components.add(weight=weight, distribution=from_law(component))
        case law.Gridded():
            message.gridded.lower, message.gridded.upper = distribution.lower, distribution.upper
            message.gridded.grid.CopyFrom(to_array(distribution.grid))
            message.gridded.log_density.CopyFrom(to_array(distribution.log_density))
        case _:
            raise TypeError(f"no message for {type(distribution).__name__}")
    return message


def estimate_of_law(distribution: law.Distribution) -> common_pb2.Estimate:
    """Summary of a distribution."""
    estimate = common_pb2.Estimate(median=float(distribution.ppf(0.5)))
    if math.isfinite(mean := float(distribution.mean)):
        estimate.mean = mean
    if math.isfinite(sd := float(distribution.sd)):
        estimate.sd = sd
    for level in LEVELS:
        lower, upper = distribution.interval(level)
        estimate.intervals.add(level=level, lower=lower, upper=upper)
    return estimate


def estimate_of_summary(summary: Summary) -> common_pb2.Estimate:
    """A summary as an estimate, with its one interval."""
    estimate = common_pb2.Estimate(median=summary.median)
    if math.isfinite(summary.mean):
        estimate.mean = summary.mean
    if math.isfinite(summary.sd):
        estimate.sd = summary.sd
    estimate.intervals.add(level=0.95, lower=summary.lower, upper=summary.upper)
    return estimate


def estimate_of_draws(draws: Floats, levels: Sequence[float] = LEVELS) -> common_pb2.Estimate:
    """Summary of posterior draws of any shape, with central intervals of these levels."""
    flat = np.ravel(draws)
    estimate = common_pb2.Estimate(mean=float(flat.mean()), median=float(np.median(flat)), sd=float(flat.std(ddof=1)))
    for level in levels:
        lower, upper = np.quantile(flat, [(1 - level) / 2, (1 + level) / 2])
        estimate.intervals.add(level=level, lower=float(lower), upper=float(upper))
    return estimate
