"""The additive marketing-mix model: what its specification must be, how many parameters it has, what can be a prior."""

from __future__ import annotations

from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2, dataset_pb2, model_pb2

from engine.rules.additive_names import estimand_rows, linear_names, parameter_names
from engine.rules.quantity_names import LOG_JOINT, LOG_LIKELIHOOD, LOG_PRIOR, name_of
from server.contract.beyond_rules import check_distribution
from server.contract.errors import invalid_field
from server.contract.families.family import Checked, Family
from server.contract.quantities import QUANTITIES
from server.contract.wire import label

DEFAULT_SATURATION = model_pb2.SATURATION_HILL_SLOPE
"""Taken where a channel names none."""


class Additive(Family):
    """The additive marketing-mix family."""

    id = "additive_mmm/1"
    member = "additive_mmm"
    carry_over = True

    def check(self, spec: model_pb2.ModelSpec, columns: Sequence[dataset_pb2.Column]) -> Checked:
        """Names are unique, columns are there in their roles, priors are what the contract's options cannot say."""
        warnings = _check(spec.additive_mmm, columns)
        return Checked(len(_parameters(spec.additive_mmm)), tuple(warnings))

    def channels(self, spec: model_pb2.ModelSpec) -> list[str]:
        """Those of the specification."""
        return [channel.name for channel in spec.additive_mmm.channels]

    def can_be_prior(self, spec: model_pb2.ModelSpec, estimand: common_pb2.Estimand) -> bool:
        """About what depends on one parameter only, as a channel's coefficient does not."""
        coefficient = estimand.quantity == common_pb2.QUANTITY_COEFFICIENT
        return QUANTITIES[estimand.quantity].can_be_prior and not (
            coefficient and estimand.channel in self.channels(spec)
        )

    def rankable(self, spec: model_pb2.ModelSpec, columns: Sequence[dataset_pb2.Column]) -> Sequence[str] | None:
        """Parameters, with the intercepts of a panel's geos, the estimands, and the log densities.

        The log prior always varies: the linear part has normal priors, whatever is stated about the rest.
        """
        model = spec.additive_mmm
        geos = [geo for column in columns if column.role == dataset_pb2.COLUMN_ROLE_GEO for geo in column.categories]
        *parameters, sigma = _parameters(model)
        intercepts = [name_of("geo", geo) for geo in sorted(geos)] if len(geos) > 1 else []
        estimands = estimand_rows((channel.name, bool(channel.spend_column)) for channel in model.channels)
        names = (*parameters, *intercepts, sigma, *filter(None, estimands), LOG_LIKELIHOOD, LOG_PRIOR, LOG_JOINT)
        return tuple(dict.fromkeys(names))


def _parameters(spec: model_pb2.AdditiveMmmSpec) -> tuple[str, ...]:
    """The top-level parameters; without the intercepts of geos."""
    media = (
        (
            channel.name,
            "roi" if channel.parameterise_by == model_pb2.PARAMETERISATION_ROI else "share_of_outcome",
            channel.saturation != model_pb2.SATURATION_LINEAR,
            (channel.saturation or DEFAULT_SATURATION) == model_pb2.SATURATION_HILL_SLOPE,
        )
        for channel in spec.channels
    )
    controls = (control.name for control in spec.controls)
    linear = linear_names(trend=not spec.no_trend, fourier_pairs=spec.fourier_pairs, controls=controls)
    return parameter_names(media, linear)


def _check(spec: model_pb2.AdditiveMmmSpec, columns: Sequence[dataset_pb2.Column]) -> list[str]:
    """Check an additive model against the columns it names; return remarks."""
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
        if channel.HasField("slope_prior"):
            if (channel.saturation or DEFAULT_SATURATION) != model_pb2.SATURATION_HILL_SLOPE:
                raise invalid_field(f"{path}.slope_prior", "must be absent: only HILL_SLOPE has a slope that is free")
            check_distribution(f"{path}.slope_prior", channel.slope_prior)
    for index, control in enumerate(spec.controls):
        path = f"spec.additive_mmm.controls[{index}]"
        _unique(names, control.name, f"{path}.name")
        want(f"{path}.column", control.column, dataset_pb2.COLUMN_ROLE_CONTROL)
    if dataset_pb2.COLUMN_ROLE_GEO in roles.values() and dataset_pb2.COLUMN_ROLE_POPULATION not in roles.values():
        warnings.append("The panel has no POPULATION column: a geo's mean KPI stands in for its population.")
    return warnings


def _unique(names: set[str], name: str, path: str) -> None:
    if name in names:
        raise invalid_field(path, f"{name!r} is used twice")
    names.add(name)
