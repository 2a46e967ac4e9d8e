"""The tables, one module per noun."""

from persistence.tables.audit import AuditEntry
from persistence.tables.base import Base, Owned, Resource
from persistence.tables.clients import Client
from persistence.tables.conflicts import (
    Conflict,
    ConflictEvidence,
    ConflictOutcome,
    RecommendedUpdate,
    StoredAttribution,
)
from persistence.tables.datasets import Dataset, DatasetChunk
from persistence.tables.decisions import AdoptedPolicy, RecordedDecision
from persistence.tables.elicitation import ClientPrior, ElicitedSession
from persistence.tables.jobs import Job, JobEvent, RequestLog
from persistence.tables.models import Fit, FitDraws, RegisteredModel, StoredCurve
from persistence.tables.sbc import SbcResult, SbcShard, SbcValidation
from persistence.tables.seen_data import DataWindow, PriorLineage

__all__ = [
    "AdoptedPolicy",
    "AuditEntry",
    "Base",
    "Client",
    "ClientPrior",
    "Conflict",
    "ConflictEvidence",
    "ConflictOutcome",
    "DataWindow",
    "Dataset",
    "DatasetChunk",
    "ElicitedSession",
    "Fit",
    "FitDraws",
    "Job",
    "JobEvent",
    "Owned",
    "PriorLineage",
    "RecommendedUpdate",
    "RecordedDecision",
    "RegisteredModel",
    "RequestLog",
    "Resource",
    "SbcResult",
    "SbcShard",
    "SbcValidation",
    "StoredAttribution",
    "StoredCurve",
]
