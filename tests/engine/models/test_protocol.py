"""Seeds: every simulation and purpose has its own stream, and no bit of the seed is lost."""

import jax
import numpy as np
import pytest

from engine.errors import InvalidInput
from engine.inference.fit import Purpose, Seed


def test_the_upper_word_of_the_seed_counts() -> None:
    # jax.random.key(5) equals jax.random.key(2**32 + 5) without 64-bit integers.
    ids = np.arange(3)
    low, high = (jax.random.key_data(Seed.of(s).keys(ids, Purpose.MCMC)) for s in (5, 2**32 + 5))
    assert not np.any(np.all(np.asarray(low) == np.asarray(high), axis=1))


def test_streams_differ_by_simulation_and_purpose() -> None:
    seed, ids = Seed.of(1), np.array([0, 1, 2**32, 2**32 + 1])
    words = np.concatenate([jax.random.key_data(seed.keys(ids, purpose)) for purpose in Purpose])
    assert len({tuple(word) for word in words.tolist()}) == len(ids) * len(Purpose)
    numbers = {seed.generator(int(i), purpose).random() for i in ids for purpose in Purpose}
    assert len(numbers) == len(ids) * len(Purpose)


def test_a_key_does_not_depend_on_the_batch() -> None:
    seed = Seed.of(2**63 + 9)
    alone = jax.random.key_data(seed.keys(np.array([4]), Purpose.INIT))
    np.testing.assert_array_equal(alone[0], jax.random.key_data(seed.keys(np.arange(6), Purpose.INIT))[4])


def test_a_word_beyond_32_bits_is_refused() -> None:
    with pytest.raises(InvalidInput):
        Seed(2**32, 0)
