"""The comparison of curves as a message: every field of every curve, and nothing that cannot be relied on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from liftos.bayes.v1 import conflict_pb2, model_pb2

from engine.conflict.analysis import ConflictRule
from engine.conflict.curve import EvidenceCurve
from engine.conflict.curve_average import CurveComparison, compare
from engine.distributions.distribution import LogNormal
from engine.inference.fit import Seed
from server.worker.conflict.curve_answers import comparison_message
from tests.engine.conflict.test_curve_average import SHARE, by_hand


@pytest.fixture(scope="module")
def comparison() -> CurveComparison:
    made = by_hand((0.6, 0.4), (-1.6, -1.2))
    curves = (replace(made.curves[0], name="hill"), replace(made.curves[1], name="linear", stacking=math.nan))
    average = replace(made, curves=curves, error=np.array([0.01, 0.02]), held_out=26)
    base = EvidenceCurve.from_draws(average.draws_of(SHARE, Seed.of(0)), LogNormal(-1.2, 0.5), 24.0, quantity=SHARE)
    return compare(average, LogNormal(-1.6, 0.1), base, ConflictRule(), Seed.of(0))


def test_weights_findings_and_estimates_of_every_curve_are_in_the_message(comparison: CurveComparison) -> None:
    message = comparison_message(comparison)
    hill, linear = message.curves
    assert (hill.saturation, linear.saturation) == (model_pb2.SATURATION_HILL, model_pb2.SATURATION_LINEAR)
    assert (hill.weight, hill.weight_mcse, linear.weight_mcse) == (0.6, 0.01, 0.02)
    assert hill.stacking_weight == 0.6
    assert not linear.HasField("stacking_weight")
    assert (hill.finding, linear.finding) == (conflict_pb2.FINDING_AGREES, conflict_pb2.FINDING_CONFLICT)
    assert hill.data_side.mean == pytest.approx(math.exp(-1.6), rel=0.05)
    assert linear.log_bayes_factor > math.log(10.0) > hill.log_bayes_factor
    assert hill.data_side.mean < message.data_side.mean < linear.data_side.mean
    assert message.held_out_rows == 26
    assert message.between_curves == comparison.between
    unknown = {field.name for field, _ in message.ListFields()} ^ {f.name for f in message.DESCRIPTOR.fields}
    assert unknown <= {"explanation", "log_bayes_factor"}
