"""Cautions in words: every kind has a sentence that names what it is about, and says what to do."""

from __future__ import annotations

import pytest

from engine.rules.cautions import Caution, CautionKind
from server.texts.cautions import cannot_be_prepared, explain_caution


@pytest.mark.parametrize("kind", list(CautionKind))
def test_every_caution_is_a_sentence_that_names_its_subjects(kind: CautionKind) -> None:
    said = explain_caution(Caution(kind, ("tv", "radio"), 0.97, "days"))
    assert said.endswith(".")
    about_all = {CautionKind.MEDIA_ABOVE_OUTCOME, CautionKind.MEDIA_NEGLIGIBLE, CautionKind.UNKNOWN_HISTORY}
    assert ("'tv' and 'radio'" in said) is (kind not in about_all)


def test_what_media_bring_a_priori_is_told_in_per_cent_or_times() -> None:
    assert "bring 250 % of the outcome" in explain_caution(Caution(CautionKind.MEDIA_ABOVE_OUTCOME, value=2.5))
    assert "bring 41 times the whole of the outcome" in explain_caution(
        Caution(CautionKind.MEDIA_ABOVE_OUTCOME, value=41.05)
    )
    assert "the defaults are taken" in explain_caution(Caution(CautionKind.MEDIA_ABOVE_OUTCOME, value=2.5))
    assert "bring 0.0002 of the outcome" in explain_caution(Caution(CautionKind.MEDIA_NEGLIGIBLE, value=2e-4))


def test_a_window_that_cannot_be_fitted_is_named() -> None:
    whole = cannot_be_prepared("kpi", "does not vary inside the window", None)
    assert whole == "The data set cannot be fitted as it is: kpi does not vary inside the window."
    assert cannot_be_prepared("kpi", "x", 24).startswith("The last 24 months of the data, the window by default, ")
