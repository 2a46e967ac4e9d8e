"""What to mind about an analysis or an attribution: notes on window, fit and what could not be compared."""

from __future__ import annotations

import enum

EXPERT_ABOUT_OTHERS = "The expert's session holds no belief about a quantity of this one."
MONTHS_BY_MOMENTS = "What the prior is worth in months is taken from its moments, which are coarser."


def summary_months(stands_for: float, asked: int) -> str:
    """That a summary stands for so many months, whatever window was asked for."""
    return f"The summary stands for {stands_for:g} months; the window of {asked} months does not apply."


def short_data(months: float, asked: int) -> str:
    """That the data set is shorter than the window."""
    return f"{asked} months were asked for; the data set has {months:.1f}."


def edge_rows(rows: int, skipped: int, *, of_each_geo: bool) -> str:
    """That the first rows have no rows before them to carry over from, and how many of them are used all the same."""
    where = " of each geo" if of_each_geo else ""
    lacking = f"The first {rows} rows{where} lack lead-in data"
    if skipped >= rows:
        return f"{lacking}: what carried over into them is unknown, and they are not used as evidence."
    return (
        f"{lacking}: what carried over into them is unknown. {skipped} are not used as evidence; in the others the "
        "average exposure of the first rows stands in for it."
    )


def not_replicated(belief_id: str) -> str:
    """That there is no replicated-data p-value of a belief."""
    return f"Data cannot be replicated under belief {belief_id}: no single parameter sets it."


def expert_not_reached(belief_id: str) -> str:
    """That a belief cannot be compared with the expert's."""
    return f"Belief {belief_id} cannot be compared with the expert's, which the draws do not reach."


def figures_unreliable(belief_id: str) -> str:
    """Why the beliefs cannot be compared together: the figures of one."""
    return f"the figures of {belief_id} are unreliable"


def few_effective_draws(effective: float, needed: float) -> str:
    """Why nothing is said of all quantities together: too few draws are left."""
    return f"taking the reference priors out leaves an effective {effective:.0f} draws, of {needed:.0f} needed"


class Uncorrelated(enum.Enum):
    """Why the correlation of the updated priors is not given."""

    BELIEFS_UNKNOWN = "that of the beliefs is not known"
    PARTLY_UPDATED = "not every belief was updated"
    NO_JOINT_DRAWS = "there are no draws of all quantities together"
    UNSETTLED = "belief and data do not settle it"


def no_correlation(why: Uncorrelated | str) -> str:
    """That the correlation of the updated priors is not given, and why."""
    told = why.value if isinstance(why, Uncorrelated) else why
    return f"The correlation of the updated priors is not given: {told}."


def geos_left_out(geos: int, channels: int) -> str:
    """That an attribution is without its geos."""
    return f"The geos are left out: {geos} of them with {channels} channels each are more than one answer holds."


NO_CURVES = "Saturation curves were not compared: the model has none."


def curves_not_fitted(why: str) -> str:
    """That nothing is said of the curves of response, and why."""
    return f"Saturation curves were not compared: {why}."


def curves_not_compared(belief_id: str, why: str) -> str:
    """That a belief was not looked at under every curve of response, and why."""
    return f"{belief_id} was not compared under every saturation curve: {why}."
