"""Double precision, switched on explicitly because the JAX flag is process-wide."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from engine.errors import EngineError


def enable_float64() -> None:
    """Make JAX compute in float64 in this process; call it before the first fit."""
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]


def require_float64() -> None:
    """Raise EngineError unless float64 is on: a float32 fit would silently have other draws and other ranks."""
    if jnp.asarray(0.0).dtype != jnp.float64:
        raise EngineError("fits need float64: call engine.inference.precision.enable_float64() at process start")
