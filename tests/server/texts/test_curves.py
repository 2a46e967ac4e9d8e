"""Sentences about the curves: every curve has a name, and disagreement is told with what each says."""

from __future__ import annotations

import pytest
from liftos.bayes import share_of_outcome
from liftos.bayes.v1 import common_pb2, conflict_pb2, model_pb2

from server.texts.curves import CURVE_NAMES, explain_curves

CONFLICT, AGREES = conflict_pb2.FINDING_CONFLICT, conflict_pb2.FINDING_AGREES


def side(mean: float) -> common_pb2.Estimate:
    return common_pb2.Estimate(mean=mean, median=mean, sd=0.02)


def belief(*findings: conflict_pb2.Finding.ValueType, weights: tuple[float, ...] = (0.6, 0.3, 0.1)) -> str:
    forms = [model_pb2.SATURATION_HILL, model_pb2.SATURATION_LINEAR, model_pb2.SATURATION_LOGISTIC]
    comparison = conflict_pb2.CurveComparison(data_side=side(0.27), finding=AGREES, between_curves=0.4)
    for form, finding, weight, mean in zip(forms, findings, weights, (0.31, 0.16, 0.25), strict=True):
        comparison.curves.add(saturation=form, finding=finding, weight=weight, data_side=side(mean))
    return explain_curves(conflict_pb2.BeliefConflict(estimand=share_of_outcome("tv"), curves=comparison))


def test_every_saturation_of_the_contract_has_a_name() -> None:
    assert set(CURVE_NAMES) == set(model_pb2.Saturation.values()) - {model_pb2.SATURATION_UNSPECIFIED}


def test_curves_that_disagree_are_told_with_what_each_says() -> None:
    assert belief(AGREES, CONFLICT, AGREES) == (
        "The answer hangs on the curve of response: under a Hill curve with slope 1 (weight 0.60) and a logistic curve "
        "(weight 0.10) belief and data agree; under a linear response (weight 0.30) the data contradict the belief. By "
        "the data alone it is 31.0 % ± 2.0 % under a Hill curve with slope 1, 16.0 % ± 2.0 % under a linear response "
        "and 25.0 % ± 2.0 % under a logistic curve. On average over the curves, by how well each explains the data, it "
        "is 27.0 % ± 2.0 %, and belief and data agree. 40 % of the variance lies between the curves."
    )


@pytest.mark.parametrize("weights", [(0.6, 0.3, 0.1), (0.98, 0.01, 0.01)])
def test_curves_that_agree_or_hardly_count_are_told_in_one_sentence(weights: tuple[float, ...]) -> None:
    finding = CONFLICT if weights[0] > 0.9 else AGREES
    said = belief(AGREES, finding, AGREES, weights=weights)
    assert said.startswith("Under every curve of response that the data leave open belief and data agree (")
    assert ("a linear response" in said) == (weights[0] < 0.9)
