"""The replicated-data p-value, on a model whose predictive is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from engine.conflict.replication import replicated_p
from engine.distributions.distribution import Normal
from engine.errors import InvalidInput, UnsupportedQuantity
from engine.inference.batch import FitSettings
from engine.inference.fit import Seed
from engine.models.conjugate_normal import ConjugateNormal, ConjugateNormalSpec, prepare

QUANTITY = "share_of_outcome[tv]"
SETTINGS = FitSettings.simulation(15)


def summary(estimate: float) -> ConjugateNormal:
    return prepare(
        ConjugateNormalSpec(
            quantity=QUANTITY, estimate=estimate, standard_error=0.05, n_observations=24, prior=Normal(0.5, 10.0)
        )
    )


def p_of(estimate: float, replicates: int, seed: int) -> float:
    model, few = summary(estimate), dataclasses.replace(SETTINGS, draws=50)
    fit = model.fit(model.observed[:, None], Seed.of(seed), np.zeros(1, dtype=np.int64), SETTINGS)
    posterior = {name: values[0] for name, values in fit.draws.items()}
    return replicated_p(model, QUANTITY, Normal(0.5, 0.1), posterior, replicates, Seed.of(seed), few).value


def test_the_tv_p_value_is_that_of_the_node_split() -> None:
    # methods/conflict.md §3 I: Nott's p equals the node-split p for normal-normal, .0253
    p = p_of(0.25, 99, 3)
    assert abs(p - 0.0253) < 3.0 * np.sqrt(0.0253 * 0.9747 / 99) + 1.0 / 100.0


def test_data_at_the_belief_are_no_news() -> None:
    assert p_of(0.5, 19, 4) > 0.5


@pytest.mark.slow
def test_p_is_uniform_over_data_from_the_clients_own_predictive() -> None:
    # 200 data sets, 19 replicates each: p takes 20 values, all equally likely
    rng = np.random.default_rng(5)
    p = [p_of(float(estimate), 19, seed) for seed, estimate in enumerate(rng.normal(0.5, np.hypot(0.1, 0.05), 200))]
    counts = np.histogram(p, np.linspace(0.025, 1.025, 5))[0]
    assert np.sum((counts - 50.0) ** 2 / 50.0) < 16.27  # chi-squared, 3 df, .1 %


def test_bad_input_is_refused() -> None:
    model = summary(0.25)
    with pytest.raises(InvalidInput, match="at least 1"):
        replicated_p(model, QUANTITY, Normal(0.5, 0.1), {}, 0, Seed.of(1), SETTINGS)
    with pytest.raises(UnsupportedQuantity):
        replicated_p(model, "roi[tv]", Normal(0.5, 0.1), {}, 19, Seed.of(1), SETTINGS)


def test_a_multiple_of_a_parameter_is_replicated_like_the_parameter() -> None:
    # a share and what it is in outcome units: the same data, the same news
    model = summary(0.25)
    fit = model.fit(model.observed[:, None], Seed.of(3), np.zeros(1, dtype=np.int64), SETTINGS)
    posterior = {name: values[0] for name, values in fit.draws.items()}

    class Doubled(ConjugateNormal):
        def multiple_of(self, quantity: str) -> tuple[str, float]:
            return (QUANTITY, 2.0) if quantity == "twice" else super().multiple_of(quantity)

        def prior_of(self, quantity: str) -> Normal:
            return Normal(1.0, 20.0) if quantity == "twice" else super().prior_of(quantity)  # type: ignore[return-value]

    few = dataclasses.replace(SETTINGS, draws=50)
    once = replicated_p(model, QUANTITY, Normal(0.5, 0.1), posterior, 19, Seed.of(3), few)
    twice = replicated_p(Doubled(model.spec), "twice", Normal(1.0, 0.2), posterior, 19, Seed.of(3), few)
    assert twice.value == once.value
