"""What a report on a fixed truth says, and what it does not, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from liftos.bayes.v1 import sbc_pb2

_NO_VERDICT = (
    "This is a report and no verdict. A Bayesian interval holds the truth as often as it says over truths from the "
    "prior, not at each of them: near the middle of the prior it holds it more often, far from it less, without any "
    "error. Whether model and inference are calibrated is for the other types of runs to say; this one neither "
    "certifies the model nor speaks against it."
)


_TAKEN: Mapping[int, str] = {
    sbc_pb2.OTHER_TRUTHS_UNSPECIFIED: "stated",
    sbc_pb2.OTHER_TRUTHS_PRIOR_MEDIAN: "the median of the prior",
    sbc_pb2.OTHER_TRUTHS_POSTERIOR_MEAN: "the posterior mean of the window's data",
}


def explain_truth(truth: Sequence[sbc_pb2.FixedTruth]) -> str:
    """Where the values of a fixed truth come from."""
    by_source: dict[int, list[str]] = {}
    for each in truth:
        by_source.setdefault(each.taken_from, []).append(f"{each.quantity} = {each.value:.4g}")
    return "; ".join(f"{_TAKEN[source]}: {', '.join(named)}" for source, named in by_source.items())


def explain_recovery(report: sbc_pb2.RecoveryReport) -> list[str]:
    """The report in sentences: what was done, what failed, which quantity is furthest off, and what it is not."""
    usable = report.n_simulations - report.n_failed
    sentences = [
        f"Data of {report.n_simulations} simulations at one truth were fitted"
        + (f", of {report.planned} that are planned." if report.n_simulations < report.planned else ".")
    ]
    if report.n_failed:
        fits = "fit" if report.n_failed == 1 else "fits"
        sentences.append(f"{report.n_failed} {fits} failed and are in no figure; {usable} are.")
    known = [each for each in report.quantities if each.HasField("bias_in_sd")]
    if known:
        furthest = max(known, key=lambda each: abs(each.bias_in_sd))
        error = f" ± {furthest.bias_in_sd_error:.2f}" if furthest.HasField("bias_in_sd_error") else ""
        sentences.append(
            f"The posterior mean is furthest off for {furthest.quantity}: {furthest.bias_in_sd:+.2f}{error} posterior "
            "standard deviations from the truth on average."
        )
    return [*sentences, _NO_VERDICT]
