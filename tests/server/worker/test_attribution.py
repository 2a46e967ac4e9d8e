"""Figures of an attribution that are made of several draws or fits."""

from __future__ import annotations

import numpy as np
import pytest
from liftos.bayes.v1 import common_pb2

from engine.models.conjugate_normal import ConjugateNormalSpec, prepare
from engine.priors.distribution import Normal
from persistence.tables import Fit
from server.wire import to_json
from server.worker.attribution import _provenance, total_share
from server.worker.fits import StoredFit

MODEL = prepare(ConjugateNormalSpec("share_of_outcome[TV]", 0.25, 0.05, 24, Normal(0.5, 1.0)))


def test_the_total_share_is_the_sum_over_the_channels_and_a_single_channel_is_its_own_total() -> None:
    first, second = np.array([[0.1, 0.2]]), np.array([[0.3, 0.05]])
    draws = {"share_of_outcome[tv]": first, "share_of_outcome[radio]": second, "sigma": first}
    assert np.array_equal(total_share(draws, ["tv", "radio"]), first + second)
    assert np.array_equal(total_share(draws, ["tv"]), first)


@pytest.mark.parametrize(
    ("reference", "believed", "told"),
    [(0.0, None, None), (2.0, None, 2.0), (2.0, 0.0, 2.0), (2.0, 0.5, 2.5), (0.0, 0.5, 0.5), (0.0, 0.0, None)],
)
def test_the_provenance_counts_what_both_fits_compiled_and_nothing_where_none_did(
    reference: float, believed: float | None, told: float | None
) -> None:
    row = Fit(provenance=to_json(common_pb2.Provenance(model_id="mmm")))
    fits = [None if seconds is None else StoredFit(row, MODEL, {}, seconds) for seconds in (reference, believed)]
    assert fits[0] is not None
    message = _provenance(fits[0], fits[1])
    assert message.model_id == "mmm"
    assert (message.compile_seconds if message.HasField("compile_seconds") else None) == told
