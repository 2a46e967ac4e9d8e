"""The last resort on the model that it is for, without the quarter of a minute that compiling it takes."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.inference.fit import Purpose, Seed
from engine.inference.mode import Laplace
from engine.inference.nuts import Nuts, _draw
from engine.inference.precision import enable_float64
from tests.engine.models.test_additive_mmm import small_model

enable_float64()


def test_nuts_can_be_traced_for_an_additive_model_and_draws_every_coordinate() -> None:
    # Draws themselves: of regressions in test_reference and test_batch, of this model in the slow suite.
    model, settings = small_model(), Nuts(chains=3, warmup=10, draws=5)
    dimension = model.target.dimension
    key = Seed.of(1).keys(np.arange(1), Purpose.MCMC)[0]
    draw = partial(
        _draw, chains=3, warmup=10, draws=5, target_accept=settings.target_accept, max_tree_depth=4, dense_mass=True
    )
    y = jnp.asarray(model.target_units(model.observed[:, None])[:, 0])
    drawn, divergences = jax.eval_shape(
        draw, model.target, y, Laplace(jnp.zeros(dimension), jnp.eye(dimension)), key, key
    )
    assert (drawn.shape, drawn.dtype) == ((5, dimension, 3), jnp.float64)
    assert divergences.shape == ()


def test_one_chain_cannot_be_judged() -> None:
    with pytest.raises(InvalidInput, match="at least 2 chains"):
        Nuts(chains=1)
