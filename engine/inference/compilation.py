"""Compilation of the programs in which the sampler spends its time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

P = ParamSpec("P")
R = TypeVar("R")

_WIDE = {"xla_cpu_prefer_vector_width": 512}


def jit_wide(function: Callable[P, R], static_argnames: str | tuple[str, ...] = ()) -> Callable[P, R]:
    """`jax.jit` with vectors of 512 bits where the CPU has them, which LLVM by itself does not prefer.

    The option does nothing on a CPU with shorter vectors or on another device, and a version of JAX that does not
    know it compiles without. Such a function must not be called inside another compiled one.
    """

    @functools.cache
    def compiled() -> Callable[P, R]:
        result: Callable[P, R] = jax.jit(function, static_argnames=static_argnames, compiler_options=_options())
        return result

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return compiled()(*args, **kwargs)

    return call


@functools.cache
def _options() -> dict[str, int] | None:
    try:
        jax.jit(lambda x: x, compiler_options=_WIDE)(0.0)
    except jax.errors.JaxRuntimeError:
        return None
    return _WIDE
