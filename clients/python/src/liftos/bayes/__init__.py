"""Client of the liftos-bayes service: prior-data conflict and simulation-based calibration of marketing-mix models."""

from liftos.bayes.aio import AsyncClient, AsyncSbcRunHandle
from liftos.bayes.calls import Tls
from liftos.bayes.client import Client, SbcRunHandle
from liftos.bayes.errors import (
    Aborted,
    AlreadyExists,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    LiftosBayesError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from liftos.bayes.requests import channel, control
from liftos.bayes.rules import Violation
from liftos.bayes.values import (
    beta,
    estimand,
    gamma,
    half_life,
    half_normal,
    half_saturation,
    incremental_outcome,
    log_normal,
    marginal_roi,
    mixture,
    money,
    normal,
    retention,
    roi,
    share_of_media,
    share_of_modelled,
    share_of_outcome,
    student_t,
    truncated_normal,
    uniform,
    usd,
)

__all__ = [
    # clients
    "AsyncClient",
    "AsyncSbcRunHandle",
    "Client",
    "SbcRunHandle",
    "Tls",
    # what a belief is about
    "estimand",
    "half_life",
    "half_saturation",
    "incremental_outcome",
    "marginal_roi",
    "retention",
    "roi",
    "share_of_media",
    "share_of_modelled",
    "share_of_outcome",
    # parts of requests
    "channel",
    "control",
    "money",
    "usd",
    # distributions
    "beta",
    "gamma",
    "half_normal",
    "log_normal",
    "mixture",
    "normal",
    "student_t",
    "truncated_normal",
    "uniform",
    # errors
    "Aborted",
    "AlreadyExists",
    "Cancelled",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "LiftosBayesError",
    "NotFound",
    "PermissionDenied",
    "ResourceExhausted",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Violation",
]
