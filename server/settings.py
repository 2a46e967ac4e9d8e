"""Configuration from the environment (prefix `LIFTOS_BAYES_`)."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.lifeline import LIFELINE
from server.logs import LogFormat

PREFIX = "LIFTOS_BAYES_"
CLIENT = f"{PREFIX}CLIENT"
"""The client whose results the command line shows; an option's variable, not a setting."""
_OF_KUBERNETES = re.compile(r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)")
"""What Kubernetes tells every container of a service whose name begins with `liftos-bayes`, after the prefix."""

MAX_DEFAULT_WORKERS = 16
"""A worker takes up to a gigabyte and several database connections: more of them are for an operator to ask for."""


def default_workers() -> int:
    """One worker for every core that this process may run on, up to MAX_DEFAULT_WORKERS."""
    # Not every system restricts processes to cores.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_DEFAULT_WORKERS)


class UnknownVariable(Exception):
    """A variable of the environment has the prefix of a setting, but no setting has its name."""


class Settings(BaseSettings):
    """Frozen configuration of one process; every value can be given as `LIFTOS_BAYES_<NAME>`.

    Raises ValidationError for a wrong value, and UnknownVariable for a variable that would have no effect.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    database_url: str = ""
    """Postgres URL; empty only for `serve`, which then runs an embedded Postgres in `data_dir`."""
    data_dir: Path = Path(".liftos-bayes")
    """Directory of the embedded Postgres and, unless another is given, of the compilation cache."""
    compilation_cache_dir: str = ""
    """Directory of JAX's persistent compilation cache, which services of one machine may share; empty: `xla-cache` in
    `data_dir`."""
    listen: str = "127.0.0.1:50051"
    """Address of the gRPC server; port 0 takes a free one."""
    reflection: bool = False
    """Whether gRPC reflection is served."""
    colour: str = ""
    """Name of the deployment colour, told by `GetServerInfo`."""
    heartbeat_seconds: float = Field(default=5.0, gt=0, le=10)
    """Longest silence on a watched stream."""
    default_unary_seconds: float = Field(default=60.0, gt=0)
    """How long a call without a deadline waits for its result."""
    max_unary_seconds: float = Field(default=600.0, gt=0)
    """Longest wait of a unary call, whatever its deadline."""
    drain_seconds: float = Field(default=10.0, ge=0)
    """Grace of running calls when the server stops."""
    shard_size: int = Field(default=256, ge=1, le=4096)
    """Most simulations per shard of an SBC run; runs of up to 3072 simulations get smaller shards, so that more workers
    have some. Larger shards repeat the fits that need it in fuller batches, smaller ones report sooner; the ranks are
    the same."""
    lease_seconds: float = Field(default=15.0, gt=1)
    """How long a worker that stopped renewing its lease is believed to live."""
    stalled_seconds: float = Field(default=20.0, gt=1)
    """Age of a worker's last heartbeat after which its queue entries are delivered again; longer than a lease, or the
    entry would be delivered while the dead worker's lease still runs."""
    workers: int = Field(default_factory=default_workers, ge=1, le=64)
    """Worker processes for SBC shards that `serve` starts, beside the one for short calls; by default one per core that
    it may run on, at most 16. A container's CPU quota is not seen. A worker computes on one thread unless the variable
    NPROC, which XLA reads, says otherwise: the operations are too small to be cut over cores."""
    warm_up: tuple[Annotated[int, Field(ge=1, le=50)], ...] = (2, 3, 1, 5)
    """Numbers of channels, in this order and as a JSON list, of the models whose programs `serve` compiles into the
    cache when it starts, in a process that takes only what the others leave of the machine. Empty: none."""

    log_format: LogFormat = "text"
    """Lines for people, or one JSON object a line."""

    def model_post_init(self, context: Any, /) -> None:
        """Refuse variables that nobody reads: pydantic-settings looks for the names it knows, and for no others."""
        known = {CLIENT, LIFELINE, *(f"{PREFIX}{name}".upper() for name in type(self).model_fields)}
        names = sorted(name.removeprefix(PREFIX) for name in known - {LIFELINE})
        for variable in sorted(os.environ):
            given = variable.upper()  # as pydantic-settings reads them
            name = given.removeprefix(PREFIX)
            if name == given or given in known or _OF_KUBERNETES.fullmatch(name):
                continue
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {PREFIX}{near[0]}?" if near else f"after the prefix may stand {', '.join(names)}"
            raise UnknownVariable(f"{variable} is not a setting; {hint}")

    @property
    def compilation_cache(self) -> Path:
        """Directory of JAX's persistent compilation cache, given or not."""
        return Path(self.compilation_cache_dir) if self.compilation_cache_dir else self.data_dir / "xla-cache"


def settings_with(**given: Any) -> Settings:
    """The settings, those replaced that are given; None stands for one that is not."""
    return Settings(**{name: value for name, value in given.items() if value is not None})
