"""What the summary-level family says of a specification without a worker."""

from __future__ import annotations

import pytest
from liftos.bayes.v1 import common_pb2, model_pb2

from engine.sbc.ranked_quantities import ranked_quantities
from server.contract.families.conjugate_specification import Conjugate
from server.worker.fitting.families.conjugate_preparation import CONJUGATE

NORMAL = common_pb2.Distribution(normal=common_pb2.Normal(mean=0.5, sd=1.0))
UNIFORM = common_pb2.Distribution(uniform=common_pb2.Uniform(lower=0.0, upper=1.0))


def summary(prior: common_pb2.Distribution) -> model_pb2.ModelSpec:
    about = common_pb2.Estimand(quantity=common_pb2.QUANTITY_ROI, channel="tv")
    return model_pb2.ModelSpec(
        conjugate_normal=model_pb2.ConjugateNormalSpec(
            estimand=about, estimate=1.0, standard_error=0.2, n_months=24, reference_prior=prior
        )
    )


@pytest.mark.parametrize(("prior", "flat"), [(NORMAL, False), (UNIFORM, True)], ids=["normal", "uniform"])
def test_what_can_be_ranked_is_what_the_worker_ranks(prior: common_pb2.Distribution, flat: bool) -> None:
    spec = summary(prior)
    rankable = Conjugate().rankable(spec, [])
    assert rankable == ("roi[tv]", "log_likelihood", "log_prior", "log_joint")
    assert Conjugate().flat(spec, []) == flat
    without = {"log_prior", "log_joint"} if flat else set()
    assert set(ranked_quantities(CONJUGATE.prepare(spec, None))) == set(rankable) - without


def test_what_is_stated_replaces_the_reference_prior() -> None:
    assert Conjugate().flat(summary(NORMAL), [UNIFORM])
    assert not Conjugate().flat(summary(UNIFORM), [NORMAL])
