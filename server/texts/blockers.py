"""What stands against the release of a recommended update, in words."""

from __future__ import annotations

from collections.abc import Sequence

EXPLORATORY_UPDATE = (
    "It rests on an exploratory analysis, which counted data twice: it is NOT INFERENTIAL and cannot be accepted."
)


def unreliable_figures(belief_id: str) -> str:
    """That the figures of a belief cannot be relied on."""
    return f"The figures of belief {belief_id!r} are unreliable: check the model."


def failed_on_shared_rows(run_id: str, model_id: str, window: str) -> str:
    """That the model has failed over another window with rows of the analysis, and has not passed over its own."""
    return (
        f"SBC run {run_id} of model {model_id!r} ended with FAIL, over {window}: these share rows with the "
        "analysis, and no run over its own window has passed."
    )


def not_calibrated(model_id: str, window: str) -> str:
    """That the model has no run over the window of the analysis."""
    return f"Model {model_id!r} has not been calibrated over {window} yet: run SBC for it and let it pass."


def not_passed(run_id: str, model_id: str, window: str, verdict: str | None) -> str:
    """That the run over the window of the analysis has not passed."""
    return f"SBC run {run_id} of model {model_id!r} over {window} ended with {verdict}."


def held_back(blockers: Sequence[str]) -> str:
    """Why a belief's update is not recommended yet."""
    return f"Nothing is recommended for release yet. {' '.join(blockers)}"
