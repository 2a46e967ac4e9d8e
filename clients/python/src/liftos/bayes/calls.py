"""How calls are made: channels and headers, retries with backoff, and where a broken stream goes on."""

from __future__ import annotations

import importlib.metadata
import ipaddress
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
from liftos.bayes.errors import DeadlineExceeded, LiftosBayesError, invalid_argument, of_code
from liftos.bayes.rules import Violation
from liftos.bayes.v1 import (
    attribution_pb2_grpc,
    common_pb2,
    conflict_pb2_grpc,
    dataset_pb2_grpc,
    elicitation_pb2_grpc,
    model_pb2_grpc,
    prior_update_pb2_grpc,
    sbc_pb2,
    sbc_pb2_grpc,
    system_pb2_grpc,
)

MAX_ATTEMPTS = 6
"""Attempts of one call while the service is unavailable: about three seconds of backoff, enough for a deployment."""
MAX_OUTAGE_SECONDS = 300.0
"""How long a watch tries to re-attach without a sign of life before it gives up."""
UPLOAD_BYTES_PER_SECOND = 1 << 20
"""Slowest upload that is waited for."""

TERMINAL_STATES = frozenset(
    {common_pb2.JOB_STATE_SUCCEEDED, common_pb2.JOB_STATE_FAILED, common_pb2.JOB_STATE_CANCELLED}
)
# A stream that the transport breaks ends with one of these and without a reason of the service.
_BROKEN_STREAM = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED})


@dataclass(frozen=True)
class Tls:
    """How to encrypt the connection, and who the caller is where the deployment asks for a client certificate."""

    root_certificates: bytes | None = None
    """PEM of the authorities to trust; None: the system's."""
    private_key: bytes | None = None
    """PEM of the client's key, for mutual TLS."""
    certificate_chain: bytes | None = None
    """PEM of the client's certificate, for mutual TLS."""
    server_name: str | None = None
    """Name that the server's certificate must bear; None: the host of the target."""

    @classmethod
    def from_files(
        cls,
        root_certificates: str | Path | None = None,
        private_key: str | Path | None = None,
        certificate_chain: str | Path | None = None,
        server_name: str | None = None,
    ) -> Tls:
        """Read the PEM files."""
        read = [
            None if f is None else Path(f).read_bytes() for f in (root_certificates, private_key, certificate_chain)
        ]
        return cls(read[0], read[1], read[2], server_name)

    def credentials(self) -> grpc.ChannelCredentials:
        """The credentials of a channel."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)


def is_loopback(target: str) -> bool:
    """Whether every address of a gRPC target is on this machine."""
    scheme, _, rest = target.partition(":")
    if scheme in {"unix", "unix-abstract"}:
        return True
    if scheme in {"ipv4", "ipv6"}:
        return all(map(_is_loopback_host, map(_host, rest.split(","))))
    if scheme == "dns":  # dns:///host:port
        target = rest.rpartition("/")[2]
    return _is_loopback_host(_host(target))


def _host(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address if address.count(":") > 1 else address.partition(":")[0]


def _is_loopback_host(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_target(target: str, *, token: str | None, tls: Tls | None, insecure: bool) -> None:
    """Refuse to send a token where others could read it; raises InvalidArgument."""
    if tls is not None and insecure:
        raise invalid_argument([Violation("insecure", "must not be set together with tls")])
    if token is not None and tls is None and not insecure and not is_loopback(target):
        problem = "would travel in plain text: give tls=Tls(...), or insecure=True if something else protects the way"
        raise invalid_argument([Violation("token", problem)])
    if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
        raise invalid_argument([Violation("token", "must be printable ASCII and not empty")])


def channel_options(target: str, tls: Tls | None) -> list[tuple[str, Any]]:
    """Options of a channel: keepalive every 30 s, quick reconnects, and no detour through a proxy to this machine."""
    options: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    if is_loopback(target):
        options.append(("grpc.enable_http_proxy", 0))
    if tls is not None and tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options


def headers(token: str | None) -> tuple[tuple[str, str], ...]:
    """Metadata that every call carries."""
    try:
        version = importlib.metadata.version("liftos-bayes")
    except importlib.metadata.PackageNotFoundError:  # used from a source tree that was not installed
        version = "unknown"
    sent = [("x-liftos-client", f"liftos-bayes-client/{version}")]
    if token is not None:
        sent.append(("authorization", f"Bearer {token}"))
    return tuple(sent)


class WithHeaders:
    """A sync or async channel whose calls carry headers: stubs need no more of a channel than these factories."""

    def __init__(self, channel: Any, sent: tuple[tuple[str, str], ...]) -> None:
        self._channel = channel
        self._sent = sent

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """As `grpc.Channel.unary_unary`."""
        return _Callable(self._channel.unary_unary(*args, **kwargs), self._sent)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """As `grpc.Channel.unary_stream`."""
        return _Callable(self._channel.unary_stream(*args, **kwargs), self._sent)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """As `grpc.Channel.stream_unary`."""
        return _Callable(self._channel.stream_unary(*args, **kwargs), self._sent)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """As `grpc.Channel.stream_stream`."""
        return _Callable(self._channel.stream_stream(*args, **kwargs), self._sent)


class _Callable:
    def __init__(self, inner: Any, sent: tuple[tuple[str, str], ...]) -> None:
        self._inner = inner
        self._sent = sent

    def __call__(self, *args: Any, metadata: Sequence[Any] | None = None, **kwargs: Any) -> Any:
        return self._inner(*args, metadata=self._sent + tuple(metadata or ()), **kwargs)

    def with_call(self, *args: Any, metadata: Sequence[Any] | None = None, **kwargs: Any) -> Any:
        return self._inner.with_call(*args, metadata=self._sent + tuple(metadata or ()), **kwargs)

    def future(self, *args: Any, metadata: Sequence[Any] | None = None, **kwargs: Any) -> Any:
        return self._inner.future(*args, metadata=self._sent + tuple(metadata or ()), **kwargs)


@dataclass(frozen=True)
class Stubs:
    """The generated stubs, for whoever needs the contract as it is: with the headers, without checks and retries."""

    datasets: dataset_pb2_grpc.DatasetServiceStub
    models: model_pb2_grpc.ModelServiceStub
    elicitation: elicitation_pb2_grpc.ElicitationServiceStub
    conflicts: conflict_pb2_grpc.ConflictServiceStub
    sbc: sbc_pb2_grpc.SbcServiceStub
    updates: prior_update_pb2_grpc.PriorUpdateServiceStub
    attribution: attribution_pb2_grpc.AttributionServiceStub
    system: system_pb2_grpc.SystemServiceStub


@dataclass(frozen=True)
class AsyncStubs:
    """As `Stubs`, for asyncio."""

    datasets: dataset_pb2_grpc.DatasetServiceAsyncStub
    models: model_pb2_grpc.ModelServiceAsyncStub
    elicitation: elicitation_pb2_grpc.ElicitationServiceAsyncStub
    conflicts: conflict_pb2_grpc.ConflictServiceAsyncStub
    sbc: sbc_pb2_grpc.SbcServiceAsyncStub
    updates: prior_update_pb2_grpc.PriorUpdateServiceAsyncStub
    attribution: attribution_pb2_grpc.AttributionServiceAsyncStub
    system: system_pb2_grpc.SystemServiceAsyncStub


S = TypeVar("S", Stubs, AsyncStubs)


def stubs(kind: type[S], channel: Any, sent: tuple[tuple[str, str], ...]) -> S:
    """The stubs of every service on one channel."""
    on: Any = WithHeaders(channel, sent)
    made: list[Any] = [
        dataset_pb2_grpc.DatasetServiceStub(on),
        model_pb2_grpc.ModelServiceStub(on),
        elicitation_pb2_grpc.ElicitationServiceStub(on),
        conflict_pb2_grpc.ConflictServiceStub(on),
        sbc_pb2_grpc.SbcServiceStub(on),
        prior_update_pb2_grpc.PriorUpdateServiceStub(on),
        attribution_pb2_grpc.AttributionServiceStub(on),
        system_pb2_grpc.SystemServiceStub(on),
    ]
    return cast(Callable[..., S], kind)(*made)


def is_broken_stream(error: LiftosBayesError) -> bool:
    """Whether a stream ended because of the way and not because of the service's answer."""
    return error.code == grpc.StatusCode.UNAVAILABLE or (error.code in _BROKEN_STREAM and not error.reason)


class Backoff:
    """Waiting times that double from 0.1 s up to a limit, each cut by up to a half at random (full herds disperse)."""

    def __init__(self, limit: float = 5.0) -> None:
        self._limit = limit
        self.attempts = 0

    def reset(self) -> None:
        """Begin anew after a success."""
        self.attempts = 0

    def next(self, error: LiftosBayesError) -> float:
        """Seconds to wait before the next attempt, not less than the service asks for."""
        self.attempts += 1
        delay = min(0.1 * 2.0 ** min(self.attempts - 1, 16), self._limit)
        delay *= 1 - random.random() / 2
        return max(delay, error.retry_after or 0.0)


class Retry:
    """The life of one unary call: how much time is left and whether a failure is worth another attempt.

    Every unary RPC of the contract is free of side effects or carries a `request_id`, so that each may be repeated.
    """

    def __init__(self, timeout: float | None) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._outage = Backoff()
        self._pending = Backoff(limit=2.0)
        self._still_running: LiftosBayesError | None = None

    def remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def after(self, error: LiftosBayesError) -> float:
        """Seconds to wait before the next attempt; raises `error` if there shall be none."""
        if error.code == grpc.StatusCode.UNAVAILABLE:
            delay = self._outage.next(error)
            if self._outage.attempts >= MAX_ATTEMPTS:
                raise error
        elif isinstance(error, DeadlineExceeded) and error.reason == "STILL_RUNNING":
            self._still_running = error
            delay = self._pending.next(error)
        elif isinstance(error, DeadlineExceeded) and self._still_running is not None:
            # The caller's own deadline struck in a later attempt; what the service said before is the better answer.
            raise self._still_running
        else:
            raise error
        left = self.remaining()
        if left is not None and delay >= left:
            raise error
        return delay


class StreamRetry:
    """The life of a resumable stream: progress resets the backoff, a long outage ends it."""

    def __init__(self, timeout: float | None = None, max_outage: float = MAX_OUTAGE_SECONDS) -> None:
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._max_outage = max_outage
        self._alive = time.monotonic()
        self._backoff = Backoff()

    def remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def alive(self) -> None:
        """Something new arrived."""
        self._alive = time.monotonic()
        self._backoff.reset()

    def after(self, error: LiftosBayesError) -> float:
        """Seconds to wait before re-attaching; raises `error` if it is the service's answer or the outage lasts."""
        if not is_broken_stream(error):
            raise error
        delay = self._backoff.next(error)
        if time.monotonic() + delay - self._alive > self._max_outage:
            raise error
        left = self.remaining()
        if left is not None and delay >= left:
            raise error
        return delay


class Cursor:
    """Where a watch of a run stands."""

    def __init__(self, after_sequence: int, *, heartbeats: bool) -> None:
        self.sequence = after_sequence
        self.ended = False
        self._heartbeats = heartbeats

    def take(self, event: sbc_pb2.SbcEvent) -> bool:
        """Move on with an event; whether it is new to the caller."""
        if event.WhichOneof("event") == "heartbeat":
            return self._heartbeats
        if event.sequence <= self.sequence:  # seen before the stream broke
            return False
        self.sequence = event.sequence
        self.ended = event.HasField("state_changed") and event.state_changed.state in TERMINAL_STATES
        return True

    def ended_with(self, run: sbc_pb2.SbcRun) -> bool:
        """Whether the run is over and every event of it was seen, for a stream that ended without a last event."""
        return run.state in TERMINAL_STATES and self.sequence >= run.last_sequence


def finished(run: sbc_pb2.SbcRun) -> sbc_pb2.SbcRun:
    """The run with its verdict, or FailedPrecondition with the reason for which it has none."""
    if run.state != common_pb2.JOB_STATE_FAILED:
        return run
    raise of_code(
        grpc.StatusCode.FAILED_PRECONDITION,
        run.error.message or "the run failed",
        reason=run.error.reason or "COMPUTATION_FAILED",
        violations=[Violation(run.error.field, run.error.message)] if run.error.field else [],
        metadata={"run_id": run.run_id},
    )


def still_running(run_id: str) -> LiftosBayesError:
    """The timeout of a caller who waited for a run."""
    return of_code(
        grpc.StatusCode.DEADLINE_EXCEEDED,
        f"run {run_id!r} has not ended yet; it goes on",
        reason="STILL_RUNNING",
        metadata={"run_id": run_id},
    )


def upload_timeout(timeout: float, size: int) -> float:
    """Seconds that an upload of `size` bytes may take."""
    return timeout + size / UPLOAD_BYTES_PER_SECOND


class UploadRetry:
    """The life of one upload, which goes on from the committed offset after a failure."""

    def __init__(self) -> None:
        self.offset = 0
        self._backoff = Backoff()

    def after(self, error: LiftosBayesError) -> float:
        """Seconds to wait before the next attempt; raises `error` if there shall be none."""
        delay = self._backoff.next(error)
        if not _resumable(error) or self._backoff.attempts >= MAX_ATTEMPTS:
            raise error
        return delay

    def resume(self, offset: int) -> None:
        """Go on from an offset; progress allows further attempts."""
        if offset > self.offset:
            self._backoff.reset()
        self.offset = offset


def _resumable(error: LiftosBayesError) -> bool:
    """Whether an upload goes on from the committed offset after this error.

    Beside a broken stream: an earlier upload of the same data set was left unfinished (the server names the offset it
    expects), or the handler of the broken stream has not let go yet.
    """
    return (
        is_broken_stream(error)
        or "committed_offset" in error.metadata
        or any(violation.field == "chunk.offset" for violation in error.violations)
    )
