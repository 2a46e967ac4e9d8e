"""Kinds of jobs: what a call asks a worker to do, and what it is answered with."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from liftos.bayes.v1 import attribution_pb2, conflict_pb2, elicitation_pb2, model_pb2, prior_update_pb2, sbc_pb2

R = TypeVar("R", bound=Message)


class Kind(Generic[R]):
    """A kind of job, stored by the name that it has in JobKind; `fits`: it may need a fit of many seconds."""

    name: str

    def __init__(self, response: type[R], *, fits: bool = False) -> None:
        self.response = response
        self.fits = fits

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name


class JobKind:
    """The kinds of jobs that calls wait for. An enum in all but that each member has the type of its response."""

    REGISTER_MODEL = Kind(model_pb2.RegisterModelResponse)
    ADD_BELIEF = Kind(elicitation_pb2.AddBeliefResponse)
    ADD_SHARES = Kind(elicitation_pb2.AddShareBeliefsResponse)
    ADOPT_PRIOR_UPDATE = Kind(elicitation_pb2.AdoptPriorUpdateResponse)
    ELICITATION_FEEDBACK = Kind(elicitation_pb2.GetElicitationFeedbackResponse, fits=True)
    FIT_PRIOR = Kind(elicitation_pb2.FitPriorResponse)
    ANALYZE_CONFLICT = Kind(conflict_pb2.AnalyzeConflictResponse, fits=True)
    UPDATE_PRIORS = Kind(prior_update_pb2.UpdatePriorsResponse)
    ANALYZE_ATTRIBUTION = Kind(attribution_pb2.AnalyzeAttributionResponse, fits=True)
    CHECK_NECESSITY = Kind(sbc_pb2.CheckSbcNecessityResponse)
    CREATE_POLICY = Kind(sbc_pb2.CreateNecessityPolicyResponse)
    REPLAY_POLICY = Kind(sbc_pb2.ReplayNecessityPolicyResponse)
    # Before a run at a fixed truth is planned: the truth of every parameter, which only a worker can tell.
    FIX_TRUTH = Kind(sbc_pb2.StartSbcRunResponse, fits=True)


JOB_KINDS: dict[str, Kind[Any]] = {name: kind for name, kind in vars(JobKind).items() if isinstance(kind, Kind)}
"""The kinds by the names that are stored."""
SBC_RUN = "SBC_RUN"
"""The kind of the job that stands for a calibration run: nobody waits for its response, and shards do its work."""
