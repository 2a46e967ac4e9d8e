"""What the service has to know of a model family without its mathematics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from liftos.bayes.v1 import common_pb2, dataset_pb2, model_pb2

from server.contract.errors import invalid_field

MAX_PARAMETERS = 80


@dataclass(frozen=True)
class Checked:
    """What comes of checking a specification: its number of top-level scalar unknowns, and remarks for people."""

    parameters: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class StatedData:
    """Data that a specification carries in itself: a row a month of `kpi`, on these days if it states any.

    `digest` is that of the numbers alone: the same numbers are the same data, whatever days they are said to be of.
    """

    kpi: str
    digest: str
    months: int
    days: common_pb2.DateRange | None = None


class Family(ABC):
    """A model family: the one part that every family states, and what holds for most in the place of the rest.

    The worker has its other half, the function that prepares a model, under the same id.
    """

    id: str
    """Versioned id, e.g. conversion_rates/1; it is stored with every model."""
    member: str = "custom"
    """Member of `ModelSpec.family` that specifies its models; a plug-in's is `custom`."""
    carry_over: bool = False
    """Whether exposure acts with a delay; its prepared models then have the capability CarryOver."""

    @property
    def name(self) -> str:
        """The id without its version."""
        return self.id.partition("/")[0]

    @abstractmethod
    def check(self, spec: model_pb2.ModelSpec, columns: Sequence[dataset_pb2.Column]) -> Checked:
        """Check a specification against itself and the columns of its data set; ServiceError with the field to blame.

        There are no columns where the family states its own data.
        """

    def channels(self, spec: model_pb2.ModelSpec) -> list[str]:
        """Names of the media channels; by default there are none."""
        return []

    def can_be_prior(self, spec: model_pb2.ModelSpec, estimand: common_pb2.Estimand) -> bool:
        """Whether a belief about it can be the prior of a fit; by default about every quantity.

        Where it says so and the prepared model does not agree, the fit is refused later, by the worker.
        """
        return True

    def rankable(self, spec: model_pb2.ModelSpec, columns: Sequence[dataset_pb2.Column]) -> Sequence[str] | None:
        """Names of everything that a calibration run can rank, log densities included.

        By default None: only the worker knows, and a run that asks for what there is not ends with that.
        """
        return None

    def flat(self, spec: model_pb2.ModelSpec, stated: Sequence[common_pb2.Distribution]) -> bool:
        """Whether every prior is uniform, so that the log prior is a constant; `stated`: laws that replace priors.

        By default no: where it is so all the same, the worker leaves it out, or refuses it where it was asked for.
        """
        return False

    def stated_data(self, spec: model_pb2.ModelSpec) -> StatedData | None:
        """The data that the specification carries; by default none, and the model is fitted to a data set."""
        return None


def checked(
    family: Family, spec: model_pb2.ModelSpec, columns: Sequence[dataset_pb2.Column], rows: int | None
) -> Checked:
    """The family's own check, and what holds for all of them; `rows` of its data set, None without one."""
    check = family.check(spec, columns)
    if check.parameters > MAX_PARAMETERS:
        message = f"{check.parameters} top-level parameters, at most {MAX_PARAMETERS}"
        raise invalid_field(f"spec.{family.member}", message)
    if rows is not None and rows < check.parameters:
        few = f"{rows} rows for {check.parameters} parameters: the data will say little."
        return Checked(check.parameters, (*check.warnings, few))
    return check
