"""How often the data were right in the conflicts that were resolved, in words."""

from __future__ import annotations

from liftos.bayes.v1 import conflict_pb2

from server.texts.phrases import severity_words

FEW = 10
"""Fewer resolved beliefs than this are called few: with ten of which five are hits the interval is .22 to .78."""
CAVEAT = (
    "Those who resolve choose what they look into, and a side is often stated by a person, so a hit rate is not the "
    "error rate of the analysis."
)


def explain_record(report: conflict_pb2.GetOutcomeReportResponse, unreliable: int) -> list[str]:
    """The report in sentences; `unreliable`: beliefs that are left out, since their figures are."""
    told = [_severity(record) for record in report.severities if record.resolved]
    if not told:
        return ["No conflict has been resolved yet, so nothing is known about who was right."]
    if any(0 < record.resolved < FEW for record in report.severities):
        told.append(f"Fewer than {FEW} resolved beliefs of a severity are few; the intervals say how few.")
    told.append(CAVEAT)
    if unreliable:
        told.append(f"Left out, since their figures are unreliable: {unreliable}.")
    return told


def _severity(record: conflict_pb2.SeverityRecord) -> str:
    neither = record.resolved - record.for_data - record.for_client
    return (
        f"{severity_words(record.severity).capitalize()} evidence against the belief: {record.resolved} of "
        f"{record.analysed} resolved, {record.for_data} for the data, {record.for_client} for the client, {neither} "
        f"for neither; the data were right in {100 * record.hit_rate:.0f} % (95 % interval "
        f"{100 * record.hit_rate_lower:.0f} % to {100 * record.hit_rate_upper:.0f} %)."
    )
