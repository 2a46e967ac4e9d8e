"""Whether truths and noise of a calibration run come from different random numbers, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from liftos.bayes.v1 import sbc_pb2

from server.texts.formats import p_is

_UNTESTED: Mapping[int, str] = {
    sbc_pb2.UNTESTED_REASON_OTHER_TRUTHS: "the model does not draw the truths of the ledger from the seed of the run",
    sbc_pb2.UNTESTED_REASON_OTHER_NOISE: "at the truths that it draws, the model simulates other data than it drew",
    sbc_pb2.UNTESTED_REASON_NOT_SIMULATED: "the model does not simulate at given parameters",
    sbc_pb2.UNTESTED_REASON_NO_VARIATION: "truths, or data at one truth, do not vary or are no numbers",
}


def shares(test: sbc_pb2.SharedNumbersTest) -> bool:
    """Whether the test says that truths and noise share random numbers."""
    return test.HasField("p_value") and test.p_value <= test.level


def explain_shared(test: sbc_pb2.SharedNumbersTest) -> str:
    """The test in a sentence."""
    if not test.HasField("p_value"):
        return f"Not tested for random numbers that truths and noise share: {_UNTESTED[test.untested]}."
    if shares(test):
        truths = f"the truths of {test.quantity}"
        noise = f"the noise of observation {test.observation}"
        truths = f"The distances of {truths} from their median" if test.distance_of_truth else f"T{truths[1:]}"
        noise = f"those of {noise} from its own" if test.distance_of_noise else noise
        return (
            f"{truths} and {noise} (counted from 0) correlate "
            f"with {test.correlation:.3f} over {test.n_simulations} simulations ({p_is(test.p_value)}, over all pairs):"
            " the simulator draws both from the same random numbers. Its data are then not those of the model, and the "
            "ranks say nothing."
        )
    return (
        f"Truths and noise show no random numbers in common over {test.n_simulations} simulations "
        f"({p_is(test.p_value)})."
    )
