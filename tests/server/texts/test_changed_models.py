"""What changed models say of a belief, and what would settle the matter."""

from __future__ import annotations

import math

import pytest
from liftos.bayes.v1 import common_pb2, conflict_pb2

from engine.rules.reasons import Remedy
from server.texts.changed_models import explain_cause, explain_remedy

SHARE = common_pb2.QUANTITY_SHARE_OF_OUTCOME
BEFORE = common_pb2.Estimate(mean=0.25, sd=0.05)


def cause(
    kind: conflict_pb2.CauseKind.ValueType = conflict_pb2.CAUSE_KIND_COLUMN_ADDED,
    subject: str = "price",
    gain: float | None = math.log(20.0),
    **changes: bool,
) -> conflict_pb2.Cause:
    data = common_pb2.Estimate(mean=0.4, sd=0.05)
    stated = {"resolves": True, **changes}
    return conflict_pb2.Cause(kind=kind, subject=subject, data_side=data, log_evidence_gain=gain, **stated)  # type: ignore[arg-type]


def test_the_sentence_is_in_the_units_of_the_client_and_about_this_model() -> None:
    assert explain_cause(cause(), BEFORE, SHARE, (), barely=False) == (
        "With the column price as a control the data alone would say 40.0 % ± 5.0 % under this model instead of "
        "25.0 % ± 5.0 %; that contradicts the belief no more, and the data are 20 times as probable under it."
    )


@pytest.mark.parametrize(
    ("changes", "barely", "words"),
    [
        ({}, True, "; that brings the evidence below the threshold, and"),
        ({"only_vaguer": True}, False, "no more, but only because fewer rows say less, and"),
        ({"resolves": False}, True, "; that contradicts the belief all the same, and"),
    ],
)
def test_what_is_left_of_the_evidence_is_told(changes: dict[str, bool], barely: bool, words: str) -> None:
    assert words in explain_cause(cause(**changes), BEFORE, SHARE, (), barely=barely)


@pytest.mark.parametrize(
    ("gain", "end"),
    [
        (None, "no more."),
        (0.04, "and the data are as probable under either model."),
        (-3.0, "and the data are 20.1 times as probable under the model as it is."),
        (9.2, "and the data are 9,900 times as probable under it."),
        (9.3, "and the data are more than 10,000 times as probable under it."),
        (800.0, "and the data are more than 10,000 times as probable under it."),
    ],
)
def test_what_the_data_say_of_the_changed_model_itself_is_told(gain: float | None, end: str) -> None:
    assert explain_cause(cause(gain=gain), BEFORE, SHARE, (), barely=False).endswith(end)


def test_rows_that_count_least_are_named_in_order() -> None:
    outliers = cause(conflict_pb2.CAUSE_KIND_OUTLIERS, "")
    dates = ("2020-03-16", "2019-01-07")
    told = explain_cause(outliers, BEFORE, SHARE, dates, barely=False)
    assert told.startswith("With outlying rows counting less (least of all 2019-01-07, 2020-03-16) the data")
    assert explain_remedy(Remedy.CHECK_ROWS, outliers, dates, "tv", 0.0) == "Check the rows of 2019-01-07, 2020-03-16."
    assert explain_remedy(Remedy.CHECK_ROWS, outliers, (), "tv", 0.0) == "Check the data for outlying rows."


@pytest.mark.parametrize(
    ("remedy", "told"),
    [
        (Remedy.GIVE_COLUMN, "Give the model the column price as a control."),
        (
            Remedy.EXPERIMENT_BETWEEN_MODELS,
            "An experiment with channel tv (geo test or lift test) would settle it: the",
        ),
        (Remedy.EXPERIMENT_ON_COLLINEAR, "settle it: 95 % of its exposure follows from the rest of the model."),
        (Remedy.EXPERIMENT_BETWEEN_FIRM_SIDES, "too firm for either to be talked down."),
    ],
)
def test_what_would_settle_the_matter_is_told(remedy: Remedy, told: str) -> None:
    assert told in explain_remedy(remedy, cause(), (), "tv", 0.95)


def test_a_model_that_the_data_prefer_is_to_be_asked() -> None:
    linear = cause(conflict_pb2.CAUSE_KIND_SATURATION, "all channels linear")
    assert explain_remedy(Remedy.ASK_AGAIN, linear, (), "", 0.0) == (
        "Ask again with all channels linear, a model that explains the data better."
    )
    assert explain_remedy(Remedy.EXPERIMENT_BETWEEN_MODELS, linear, (), "", 0.0).startswith(
        "An experiment with the channels (geo test"
    )
