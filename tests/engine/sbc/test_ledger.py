"""Ledger of ranks: shapes, order, joining."""

import dataclasses

import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.sbc.ledger import RankLedger, Status, concatenate


def _ledger(ids, quantities=("a", "b")):
    ids = np.asarray(ids, dtype=np.int64)
    shape = (len(ids), len(quantities))
    return RankLedger(
        simulations=ids,
        quantities=quantities,
        ranks=np.tile(ids[:, None] % 100, (1, shape[1])).astype(np.int32),
        n_draws=np.full(len(ids), 99, dtype=np.int32),
        v=np.full(shape, 0.25),
        ties=np.zeros(shape),
        status=(ids % 5).astype(np.uint8),
        r_hat=np.ones(len(ids)),
        ess=np.full(len(ids), 400.0),
        mean=np.zeros(shape),
        sd=np.ones(shape),
        truth=np.zeros(shape),
    )


def test_joined_shards_are_sorted_by_simulation_in_every_array():
    whole, joined = _ledger(range(12)), concatenate([_ledger([6, 7, 11]), _ledger(range(6)), _ledger([8, 9, 10])])
    for field in dataclasses.fields(RankLedger):
        np.testing.assert_array_equal(getattr(joined, field.name), getattr(whole, field.name))


def test_a_simulation_that_appears_twice_is_refused():
    with pytest.raises(InvalidInput, match="two ledgers"):
        concatenate([_ledger([0, 1]), _ledger([1, 2])])
    with pytest.raises(InvalidInput, match="simulations"):
        _ledger([0, 0])


def test_other_quantities_or_nothing_cannot_be_joined():
    with pytest.raises(InvalidInput, match="quantities"):
        concatenate([_ledger([0]), _ledger([1], ("b", "a"))])
    with pytest.raises(InvalidInput, match="at least one"):
        concatenate([])


def test_pit_spreads_a_rank_over_its_cell():
    assert _ledger([30]).u.tolist() == [[30.25 / 100, 30.25 / 100]]


def test_prefix_ends_at_the_first_missing_simulation():
    assert _ledger([0, 1, 2, 5, 6]).prefix().simulations.tolist() == [0, 1, 2]
    assert len(_ledger([3, 4]).prefix()) == 0


def test_ok_and_retried_fits_are_accepted_and_no_others():
    ledger = _ledger(range(5))
    assert ledger.accepted.tolist() == [True, True, False, False, False]
    assert [s.accepted for s in Status] == ledger.accepted.tolist()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ranks", np.full((2, 2), 100, dtype=np.int32)),
        ("ranks", np.zeros((2, 3), dtype=np.int32)),
        ("v", np.full((2, 2), 1.5)),
        ("n_draws", np.zeros(2, dtype=np.int32)),
        ("status", np.full(2, 9, dtype=np.uint8)),
        ("quantities", ("a", "a")),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(field, value):
    with pytest.raises(InvalidInput):
        dataclasses.replace(_ledger([0, 1]), **{field: value})
