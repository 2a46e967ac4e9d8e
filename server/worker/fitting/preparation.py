"""How a registered specification becomes a prepared model: what a family's own function for it is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from liftos.bayes.v1 import dataset_pb2, model_pb2

from engine.models.protocol import Model
from engine.models.table import Table, Window


@dataclass(frozen=True)
class Data:
    """The data set of a model without what the period holds out, its columns, and the window to fit."""

    table: Table
    columns: Sequence[dataset_pb2.Column]
    window: Window

    def named(self, role: dataset_pb2.ColumnRole.ValueType) -> str | None:
        """Name of the first column with a role, None where no column has it."""
        return next((column.name for column in self.columns if column.role == role), None)


@dataclass(frozen=True)
class Preparation:
    """The worker's half of a model family; the other half is the `Family` of the same id.

    prepare: the model of a specification that the family has checked, and of its data set unless it states its own
    data. What the engine still finds wrong with them it raises as InvalidInput.
    common: a model with so many channels of the shape that most requests have, to compile its programs in advance; None
    where there is nothing to compile.
    """

    family: str
    prepare: Callable[[model_pb2.ModelSpec, Data | None], Model]
    common: Callable[[int], Model] | None = None
