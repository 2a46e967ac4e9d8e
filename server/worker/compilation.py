"""JAX's persistent compilation cache: a second process does not compile what a first one has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax


def keep_compilations(directory: Path) -> None:
    """Keep every compiled program in `directory`, which is made if it is missing."""
    directory.mkdir(parents=True, exist_ok=True)
    update: Callable[[str, object], None] = jax.config.update
    update("jax_compilation_cache_dir", str(directory.resolve()))
    update("jax_persistent_cache_min_compile_time_secs", 0.2)
    update("jax_persistent_cache_min_entry_size_bytes", -1)
