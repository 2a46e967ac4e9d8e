"""The tables, one module per noun."""

from persistence.tables.audit import AuditEntry
from persistence.tables.base import Base, Owned, Resource
from persistence.tables.clients import Client
from persistence.tables.conflicts import Attribution, Conflict, ConflictEvidence, ConflictOutcome, PriorUpdate
from persistence.tables.datasets import Dataset, DatasetChunk
from persistence.tables.decisions import NecessityDecision, NecessityPolicy
from persistence.tables.elicitation import ClientPrior, Session
from persistence.tables.jobs import Job, JobEvent, RequestLog
from persistence.tables.lineage import DataWindow, PriorLineage
from persistence.tables.models import EvidenceCurve, Fit, FitDraws, Model
from persistence.tables.sbc import SbcResult, SbcShard, SbcValidation

__all__ = [
    "Attribution",
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
    "EvidenceCurve",
    "Fit",
    "FitDraws",
    "Job",
    "JobEvent",
    "Model",
    "NecessityDecision",
    "NecessityPolicy",
    "Owned",
    "PriorLineage",
    "PriorUpdate",
    "RequestLog",
    "Resource",
    "SbcResult",
    "SbcShard",
    "SbcValidation",
    "Session",
]
