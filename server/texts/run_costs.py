"""What a calibration run costs, in words."""

from __future__ import annotations

from engine.rules.sbc_presets import SIMULATIONS, ValidationType
from server.texts.formats import number


def same_model(model_id: str, window: str) -> str:
    """Runs of the model itself, as what was measured."""
    return f"model {model_id!r} over {window}"


def similar_models(fewest: float, most: float) -> str:
    """Runs of models with a similar number of parameters, as what was measured."""
    return f"models of {number(fewest)} to {number(most)} parameters over any window"


def unknown_cost() -> str:
    """That nothing was measured, and what would measure it."""
    pilot = SIMULATIONS[ValidationType.QUICK]
    return (
        "Unknown: no run of this model, or of one of its family with a similar number of parameters, has ended "
        f"yet. A QUICK run of {pilot} simulations measures it, and finds gross errors on the way."
    )


def explain_cost(runs: int, subject: str, *, compiled: bool, enough: int, other_kinds: int) -> str:
    """Where the seconds of a run come from.

    `compiled`: its programs are there; from `enough` runs on the spread is theirs. `other_kinds`: the fits that a
    simulation of posterior SBC was taken for, because no run had simulations of every kind; 0 where one had.
    """
    if runs < enough:
        spread = (
            f"With fewer than {enough} runs the 90 % figure is a bound instead: everything compiled anew and "
            "every shard as slow as the slowest one so far."
        )
    else:
        spread = "The 90 % figure is that of the runs."
    by = "1 finished run" if runs == 1 else f"the {runs} newest finished runs"
    compiling = "is left out, since these runs have done it" if compiled else "takes what it took then"
    text = (
        f"Seconds on the clock, by {by} of {subject}: compiling {compiling}, the rest grows with the number of "
        f"simulations. {spread} Other work on the same workers comes on top."
    )
    if other_kinds:
        text += (
            " None of them had simulations of every kind that the run has: posterior SBC is taken for "
            f"{other_kinds} fits of one data set, which is too few where the second, of two columns, takes longer, "
            "and it has programs of its own to compile."
        )
    return text
