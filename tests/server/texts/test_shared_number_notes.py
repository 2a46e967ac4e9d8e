"""What is said of random numbers that truths and noise share."""

from __future__ import annotations

import pytest
from liftos.bayes.v1 import sbc_pb2

from server.texts.shared_number_notes import explain_shared, shares


def test_what_is_shared_is_told_with_its_place_and_p() -> None:
    test = sbc_pb2.SharedNumbersTest(
        n_simulations=500, p_value=0.001, level=0.001, quantity="roi[tv]", observation=3, correlation=-0.998
    )
    assert shares(test)
    assert explain_shared(test).startswith(
        "The truths of roi[tv] and the noise of observation 3 (counted from 0) correlate with -0.998 over 500 "
        "simulations (p = 0.001, over all pairs): the simulator draws both from the same random numbers."
    )


def test_a_correlation_of_distances_is_told_as_that() -> None:
    test = sbc_pb2.SharedNumbersTest(p_value=0.001, level=0.001, quantity="sigma", observation=3, correlation=0.7)
    for truth, noise, words in (
        (True, True, "The distances of the truths of sigma from their median and those of the noise of observation 3"),
        (True, False, "The distances of the truths of sigma from their median and the noise of observation 3 ("),
    ):
        test.distance_of_truth, test.distance_of_noise = truth, noise
        assert explain_shared(test).startswith(words)


def test_a_p_value_above_the_level_says_what_was_looked_at() -> None:
    test = sbc_pb2.SharedNumbersTest(n_simulations=100, p_value=0.002, level=0.001, quantity="roi[tv]")
    assert not shares(test)
    assert explain_shared(test) == (
        "Truths and noise show no random numbers in common over 100 simulations (p = 0.002)."
    )


@pytest.mark.parametrize("reason", [number for number in sbc_pb2.UntestedReason.values() if number])
def test_what_was_not_tested_is_told_with_the_reason(reason: sbc_pb2.UntestedReason.ValueType) -> None:
    test = sbc_pb2.SharedNumbersTest(n_simulations=100, level=0.001, untested=reason)
    assert not shares(test)
    assert explain_shared(test).startswith("Not tested for random numbers that truths and noise share: ")
