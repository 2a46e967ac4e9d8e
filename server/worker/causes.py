"""What else could explain a strong conflict: refits of the model under changes, kept while they may be asked again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from liftos.bayes.v1 import conflict_pb2, dataset_pb2

from engine.conflict.alternatives import alternatives
from engine.conflict.causes import Cause, Causes, Refit, explain, refit, suggestion
from engine.conflict.collinearity import collinearity
from engine.conflict.curve import EvidenceCurve
from engine.conflict.severity import Severity
from engine.models.additive_mmm import AdditiveMmm
from engine.models.protocol import BatchFit
from engine.models.table import Window
from persistence.tables import Model
from server.formats import shown
from server.wire import value_of
from server.worker.calls import WorkerContext
from server.worker.convert import estimate_of_summary
from server.worker.examination import Examined
from server.worker.fits import StoredFit, curve_of_draws, fit_draws

KEPT = 4
"""Models whose refits are kept in memory; some megabytes each."""

TRIED_AS_CONTROLS = (dataset_pb2.COLUMN_ROLE_CONTROL, dataset_pb2.COLUMN_ROLE_EXPOSURE, dataset_pb2.COLUMN_ROLE_SPEND)


class RefitStore:
    """Refits of a model under its alternatives by the key of its own fit: a second belief costs none."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Sequence[Refit]] = OrderedDict()

    async def of(self, context: WorkerContext, fit: StoredFit, row: Model, months: int) -> Sequence[Refit]:
        """The refits of a stored fit of an additive model; computed at need."""
        key = fit.row.fit_key
        if key not in self._kept:
            base = fit.model
            assert isinstance(base, AdditiveMmm)
            async with context.database.session() as session:
                table, columns = await context.models.data_of(session, row)
            names = [column.name for column in columns if column.role in TRIED_AS_CONTROLS]

            def compute() -> Sequence[Refit]:
                changed = alternatives(base, table, Window(months), names)
                return refit(base, changed, fit.seed.derived("causes"))

            self._kept[key] = await asyncio.to_thread(compute)
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[key]


def needs_causes(one: Examined) -> bool:
    """Whether a belief is in a conflict of at least strong severity with the data of a model that can be changed."""
    return one.figures.conflict and one.figures.severity in (Severity.STRONG, Severity.VERY_STRONG)
