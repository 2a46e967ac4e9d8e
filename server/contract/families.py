"""Model families of the contract: what a specification must be and how many parameters it has."""

from __future__ import annotations

import datetime

from liftos.bayes.v1 import dataset_pb2, model_pb2

from server.contract.checks import check_distribution, check_estimand, check_estimate
from server.contract.errors import invalid_field
from server.contract.period import DAYS_PER_MONTH
from server.contract.wire import label

MAX_PARAMETERS = 50


FAMILIES = {"additive_mmm": "additive_mmm/1", "conjugate_normal": "conjugate_normal/1"}


def check_additive(spec: model_pb2.AdditiveMmmSpec, columns: list[dataset_pb2.Column]) -> tuple[int, list[str]]:
    """Check an additive model against the columns it names; return its parameter count and remarks."""
    roles = {column.name: column.role for column in columns}
    names: set[str] = set()
    warnings: list[str] = []

    def want(path: str, column: str, *allowed: dataset_pb2.ColumnRole.ValueType) -> None:
        if column not in roles:
            raise invalid_field(path, f"the data set has no column {column!r}; it has {', '.join(sorted(roles))}")
        if roles[column] not in allowed:
            listed = " or ".join(label(dataset_pb2.ColumnRole, role) for role in allowed)
            raise invalid_field(path, f"column {column!r} must have role {listed}")

    for index, channel in enumerate(spec.channels):
        path = f"spec.additive_mmm.channels[{index}]"
        _unique(names, channel.name, f"{path}.name")
        want(
            f"{path}.exposure_column",
            channel.exposure_column,
            dataset_pb2.COLUMN_ROLE_EXPOSURE,
            dataset_pb2.COLUMN_ROLE_SPEND,
        )
        if channel.spend_column:
            want(f"{path}.spend_column", channel.spend_column, dataset_pb2.COLUMN_ROLE_SPEND)
        elif channel.parameterise_by == model_pb2.PARAMETERISATION_ROI:
            raise invalid_field(f"{path}.spend_column", "required when the channel is parameterised by ROI")
        else:
            warnings.append(f"Channel {channel.name!r} has no spend column, so no ROI is reported for it.")
        if channel.HasField("prior"):
            check_distribution(f"{path}.prior", channel.prior)
        if channel.HasField("retention_prior"):
            check_distribution(f"{path}.retention_prior", channel.retention_prior)
        if channel.HasField("half_saturation_prior"):
            if channel.saturation == model_pb2.SATURATION_LINEAR:
                raise invalid_field(f"{path}.half_saturation_prior", "must be absent: a linear channel has none")
            check_distribution(f"{path}.half_saturation_prior", channel.half_saturation_prior)
    for index, control in enumerate(spec.controls):
        path = f"spec.additive_mmm.controls[{index}]"
        _unique(names, control.name, f"{path}.name")
        want(f"{path}.column", control.column, dataset_pb2.COLUMN_ROLE_CONTROL)
    if dataset_pb2.COLUMN_ROLE_GEO in roles.values() and dataset_pb2.COLUMN_ROLE_POPULATION not in roles.values():
        warnings.append("The panel has no POPULATION column: a geo's mean KPI stands in for its population.")
    linear = sum(channel.saturation == model_pb2.SATURATION_LINEAR for channel in spec.channels)
    count = 3 * len(spec.channels) - linear + len(spec.controls) + 2 * spec.fourier_pairs + 2 + (not spec.no_trend)
    if count > MAX_PARAMETERS:
        raise invalid_field("spec.additive_mmm", f"{count} top-level parameters, at most {MAX_PARAMETERS}")
    return count, warnings


def _unique(names: set[str], name: str, path: str) -> None:
    if name in names:
        raise invalid_field(path, f"{name!r} is used twice")
    names.add(name)


def check_conjugate(spec: model_pb2.ConjugateNormalSpec) -> None:
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
