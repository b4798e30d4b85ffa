"""From logits to probabilities to tokens: what is kept, what is dropped, and who comes first among equals."""

import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import sampling, schedules
from gidd_jax.sampling import draws

SCHEDULE = schedules.linear(4, 2)
LOGITS = np.log([[[0.1, 0.2, 0.6, 0.1, 7.0]]])  # tokens 0 and 1, the mask, token 3, and a column of padding


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_clean_probs_are_a_softmax_without_mask_and_padding(temperature):
    weights = np.array([0.1, 0.2, 0.0, 0.1]) ** (1 / temperature)
    found = draws.clean_probs(SCHEDULE, jnp.asarray(LOGITS), temperature)
    np.testing.assert_allclose(found[0, 0], weights / weights.sum(), rtol=1e-6)


def test_unlikely_tokens_are_dropped_and_the_likeliest_stays():
    probs = jnp.asarray([[[0.1, 0.25, 0.65], [0.3, 0.3, 0.4]]])
    np.testing.assert_allclose(
        draws.drop_unlikely(probs, 0.2)[0], [[0, 0.25 / 0.9, 0.65 / 0.9], [0.3, 0.3, 0.4]], rtol=1e-6
    )
    np.testing.assert_allclose(draws.drop_unlikely(probs, 0.9)[0], [[0, 0, 1], [0, 0, 1]])
    np.testing.assert_allclose(draws.drop_unlikely(probs, 0.0), probs)


def test_among_equal_scores_later_cells_are_top_and_earlier_ones_stand_before():
    score = jnp.asarray([[1.0, 3.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(draws.top_cells(score, 2), [[False, True, False, True], [False, False, True, True]])
    among = jnp.asarray([[True, False, True, True], [True, True, False, True]])
    np.testing.assert_array_equal(draws.ranks(score, among), [[0, 0, 1, 2], [0, 1, 2, 2]])


def test_entropy_of_a_sample_is_in_nats():
    found = sampling.sample_entropy(jnp.asarray([[0, 1, 2, 3], [1, 1, 1, 1], [0, 0, 3, 3]]), 5)
    np.testing.assert_allclose(found, [np.log(4), 0, np.log(2)], atol=1e-6)
