"""What is said of a report on a fixed truth."""

from __future__ import annotations

from liftos.bayes.v1 import sbc_pb2

from server.texts.recovery_words import explain_recovery, explain_truth


def report(**fields: int) -> sbc_pb2.RecoveryReport:
    quantities = [
        sbc_pb2.QuantityRecovery(quantity="roi[tv]", bias_in_sd=0.3, bias_in_sd_error=0.041),
        sbc_pb2.QuantityRecovery(quantity="sigma", bias_in_sd=-0.876, bias_in_sd_error=0.052),
        sbc_pb2.QuantityRecovery(quantity="fixed"),
    ]
    return sbc_pb2.RecoveryReport(quantities=quantities, **fields)


def test_where_the_truth_comes_from_is_told() -> None:
    truth = [
        sbc_pb2.FixedTruth(quantity="a", value=0.25),
        sbc_pb2.FixedTruth(quantity="b", value=2, taken_from=sbc_pb2.OTHER_TRUTHS_PRIOR_MEDIAN),
        sbc_pb2.FixedTruth(quantity="c", value=1 / 3, taken_from=sbc_pb2.OTHER_TRUTHS_PRIOR_MEDIAN),
    ]
    assert explain_truth(truth) == "stated: a = 0.25; the median of the prior: b = 2, c = 0.3333"


def test_the_report_tells_what_failed_what_is_furthest_off_and_that_it_is_no_verdict() -> None:
    done, failed, off, last = explain_recovery(report(n_simulations=500, planned=500, n_failed=7))
    assert done == "Data of 500 simulations at one truth were fitted."
    assert failed == "7 fits failed and are in no figure; 493 are."
    assert off == (
        "The posterior mean is furthest off for sigma: -0.88 ± 0.05 posterior standard deviations from the truth on "
        "average."
    )
    assert last.startswith("This is a report and no verdict.")
    assert "neither certifies the model nor speaks against it" in last


def test_an_interim_report_says_how_many_are_planned_and_nothing_that_it_does_not_know() -> None:
    sentences = explain_recovery(sbc_pb2.RecoveryReport(n_simulations=64, planned=500, n_failed=64))
    assert sentences[0] == "Data of 64 simulations at one truth were fitted, of 500 that are planned."
    assert len(sentences) == 3  # all failed: there is no figure
