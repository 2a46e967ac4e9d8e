"""The summary-level conjugate model: what its specification must be, and the data that it states."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2, dataset_pb2, model_pb2

from engine.rules.calendar import DAYS_PER_MONTH
from engine.rules.quantity_names import LOG_JOINT, LOG_LIKELIHOOD, LOG_PRIOR
from server.contract.beyond_rules import check_distribution, check_estimand, check_estimate
from server.contract.errors import invalid_field
from server.contract.families.family import Checked, Family, StatedData
from server.contract.wire import digest, quantity_name


class Conjugate(Family):
    """The family of published estimates."""

    id = "conjugate_normal/1"
    member = "conjugate_normal"

    def check(self, spec: model_pb2.ModelSpec, columns: Sequence[dataset_pb2.Column]) -> Checked:
        """One unknown, the quantity of the estimate."""
        _check(spec.conjugate_normal)
        return Checked(1)

    def rankable(self, spec: model_pb2.ModelSpec, columns: Sequence[dataset_pb2.Column]) -> Sequence[str]:
        """The quantity of the estimate and the log densities."""
        return (quantity_name(spec.conjugate_normal.estimand), LOG_LIKELIHOOD, LOG_PRIOR, LOG_JOINT)

    def flat(self, spec: model_pb2.ModelSpec, stated: Sequence[common_pb2.Distribution]) -> bool:
        """Whether the one prior is uniform."""
        return all(law.WhichOneof("kind") == "uniform" for law in stated or [spec.conjugate_normal.reference_prior])

    def stated_data(self, spec: model_pb2.ModelSpec) -> StatedData:
        """A row a month; its KPI is its quantity."""
        summary = spec.conjugate_normal
        kpi = quantity_name(summary.estimand)
        return StatedData(
            kpi=kpi,
            digest=digest("summary", kpi, summary.estimate, summary.standard_error, summary.n_months),
            months=summary.n_months,
            days=summary.window if summary.HasField("window") else None,
        )


def _check(spec: model_pb2.ConjugateNormalSpec) -> None:
    """Check a summary-level model: its reference prior is one with an exact posterior."""
    check_estimand("spec.conjugate_normal.estimand", spec.estimand)
    path = "spec.conjugate_normal.reference_prior"
    if spec.reference_prior.WhichOneof("kind") not in {"normal", "uniform"}:
        raise invalid_field(path, "a normal or a uniform distribution")
    check_distribution(path, spec.reference_prior)
    check_estimate("spec.conjugate_normal.estimate", spec)
    if spec.HasField("window"):
        path = "spec.conjugate_normal.window"
        for name in ("first_date", "last_date"):
            if not getattr(spec.window, name):
                raise invalid_field(f"{path}.{name}", "required in a window")
        if spec.window.last_date < spec.window.first_date:
            raise invalid_field(f"{path}.last_date", "must not be before first_date")
        first, last = (datetime.date.fromisoformat(getattr(spec.window, name)) for name in ("first_date", "last_date"))
        months = ((last - first).days + 1) / DAYS_PER_MONTH
        if spec.n_months > months + 1:
            raise invalid_field(path, f"is {months:.1f} months long, too short for n_months, {spec.n_months}")
