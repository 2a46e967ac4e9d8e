"""Data that a prior has seen, in the words of the refusal to use them with it again."""

from __future__ import annotations

from collections.abc import Sequence

from liftos.bayes.v1 import common_pb2

LISTED = 5
"""Overlaps and restated months that a refusal names; an error travels in the trailers of a call, which are small."""


def explain_overlaps(overlaps: Sequence[common_pb2.DataOverlap], *, exploratory: bool, summary: bool) -> str:
    """What the priors have seen and what to do; `exploratory`: insisting is possible, `summary`: there are no rows."""
    named = [_overlap(overlap) for overlap in overlaps[:LISTED]]
    if len(overlaps) > LISTED:
        named.append(f"{len(overlaps) - LISTED} more such overlaps")
    if summary:
        advice = "Use a summary of other data; summaries are told apart by the days that they state (window)"
    else:
        advice = (
            "Use rows that it has not seen, of other days (data_period_months, hold_out_months) or another data set"
        )
    if exploratory:
        advice += "; or set exploratory, and the result is stamped as not inferential"
    return f"a prior must not meet the data again that it was derived from: {'; '.join(named)}. {advice}."


def overlapping_days(overlaps: Sequence[common_pb2.DataOverlap]) -> str:
    """The days that the overlaps are of, each named once."""
    days = dict.fromkeys(
        f"{overlap.window.first_date}/{overlap.window.last_date}" if overlap.HasField("window") else "unknown"
        for overlap in overlaps
    )
    return ", ".join(list(days)[:LISTED])


def _overlap(overlap: common_pb2.DataOverlap) -> str:
    days = "a summary of the same quantity"
    if overlap.HasField("window"):
        days = f"{overlap.window.first_date} to {overlap.window.last_date}"
    geos = f" in {_some(overlap.geos)}" if overlap.geos else ""
    restated = f", restated since in {_some(overlap.restated_months)}" if overlap.restated_months else ""
    return (
        f"belief {overlap.belief_id!r} has seen {days} ({overlap.rows} rows{geos}{restated}) through update "
        f"{overlap.update_id}"
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
