"""Cautions about covariates: what says nothing, says the same twice, ends early, or looks like an effect of media."""

from __future__ import annotations

import numpy as np

from engine.models.additive_mmm import AdditiveMmm, AdditiveMmmSpec, Channel, Control, Table, prepare
from engine.rules.cautions import CautionKind

ROWS = 104
RNG = np.random.default_rng(5)
TV, RADIO, NOISE = RNG.gamma(2.0, 5.0, ROWS), RNG.gamma(2.0, 5.0, ROWS), RNG.normal(size=ROWS)


def made(
    media: dict[str, np.ndarray],
    controls: dict[str, np.ndarray] | None = None,
    kpi: np.ndarray | None = None,
    days: int = 7,
    **changes: int,
) -> AdditiveMmm:
    controls = controls or {}
    kpi = 100.0 + 2.0 * TV + NOISE if kpi is None else kpi
    table = Table(np.datetime64("2022-01-03") + days * np.arange(ROWS), {"y": kpi, **media, **controls})
    channels = tuple(Channel(name, name, **changes) for name in media)
    return prepare(table, AdditiveMmmSpec("y", channels, tuple(Control(name, name) for name in controls)))


def kinds(model: AdditiveMmm) -> dict[CautionKind, tuple[str, ...]]:
    return {caution.kind: caution.names for caution in model.cautions()}


def test_a_sound_model_has_no_cautions() -> None:
    assert kinds(made({"tv": TV, "radio": RADIO}, {"price": RNG.normal(size=ROWS)})) == {}


def test_exposures_that_say_nothing_or_the_same_are_named() -> None:
    assert kinds(made({"tv": TV, "brand": np.full(ROWS, 3.0)})) == {CautionKind.CONSTANT_EXPOSURE: ("brand",)}
    assert kinds(made({"tv": TV, "radio": RADIO, "again": 7.0 * TV})) == {CautionKind.SAME_EXPOSURE: ("tv", "again")}
    together = TV * np.exp(0.05 * RNG.normal(size=ROWS))
    found = made({"tv": TV, "radio": RADIO, "video": together}).cautions()
    assert [(caution.kind, caution.names) for caution in found] == [(CautionKind.COLLINEAR_EXPOSURE, ("tv", "video"))]
    assert 0.95 < found[0].value < 1.0


def test_a_carry_over_that_ends_early_for_the_grain_is_named_with_its_length() -> None:
    (caution,) = made({"tv": TV}, days=1, n_weights=8).cautions()
    assert (caution.kind, caution.value, caution.periods) == (CautionKind.SHORT_CARRY_OVER, 8, "days")
    assert kinds(made({"tv": TV}, n_weights=8)) == {}
    assert kinds(made({"tv": TV}, n_weights=4)) == {CautionKind.SHORT_CARRY_OVER: ("tv",)}
    assert kinds(made({"tv": TV}, n_weights=60)) == {CautionKind.UNKNOWN_HISTORY: ()}


def test_a_control_that_media_drive_and_that_drives_sales_is_asked_about() -> None:
    visits = 3.0 * TV + 2.0 * RNG.normal(size=ROWS)
    sales = 100.0 + 1.5 * visits + RNG.normal(size=ROWS)
    assert kinds(made({"tv": TV}, {"visits": visits}, sales)) == {CautionKind.LIKE_A_MEDIATOR: ("visits",)}
    # A control that media explain and that takes nothing away, and one that drives sales alone, are none.
    assert kinds(made({"tv": TV}, {"visits": visits})) == {}
    assert kinds(made({"tv": TV}, {"price": NOISE}, 100.0 + 2.0 * TV + 9.0 * NOISE)) == {}
    assert kinds(made({"tv": TV}, {"flat": np.ones(ROWS)})) == {CautionKind.CONSTANT_CONTROL: ("flat",)}
