"""What revising samplers tell the model, draw and leave alone, one number at a time."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gidd_jax import sampling
from tests.test_revise import ALPHA, CELLS, DIGITS, MASK, STEPS, UNIFORM, blind_jump


@pytest.mark.parametrize("by_holding", [True, False])
def test_temperature_sharpens_the_jump_and_a_sampler_without_the_holding_head_does_not_read_it(by_holding):
    """One step from pure noise: a cell keeps its digit with probability 1 - h, else it is drawn from J^(1/T)."""
    jump, h, T = np.log([0.4, 0.3, 0.2, 0.1]), 0.4, 0.5

    def predict(z, t):
        return jnp.broadcast_to(jnp.asarray(jump, jnp.float32), (*z.shape, DIGITS)), jnp.full(
            z.shape, np.log(h / (1 - h))
        )

    run = partial(sampling.two_head_ancestral, predict, temperature=T, by_holding=by_holding)
    found = jax.jit(run)(jnp.zeros((10_000, 2), jnp.int32), jax.random.key(0), UNIFORM, sampling.time_grid(UNIFORM, 1))
    counts = np.bincount(np.asarray(found.board).ravel() - 1, minlength=DIGITS)
    drawn = np.exp(jump / T) / np.exp(jump / T).sum()
    expected = (1 - h) / DIGITS + h * drawn if by_holding else drawn
    assert stats.chisquare(counts, expected * 20_000).pvalue > ALPHA


@pytest.mark.parametrize(("h", "told"), [(0.55, 0.55), (1e-6, 0.25)])
def test_resampling_tells_the_model_the_mean_distrust_and_at_least_one_cell(h, told):
    """The digit written is t in tenths: 1 at first, then the mean of h over unknown cells."""

    def predict(z, t):
        tenth = jnp.broadcast_to(jnp.round(10 * t).astype(int)[:, None] - 1, z.shape)
        of_cell = jnp.where(jnp.arange(z.shape[1])[None] == 3, 9.0, np.log(h / (1 - h)))  # the last cell is given
        return jax.nn.one_hot(tenth, 10), jnp.broadcast_to(of_cell, z.shape)

    question = jnp.asarray([[0, 0, 0, 7]])
    found = sampling.resample(predict, question, jax.random.key(0), 3, 10, k=4, temperature=0.0, history=3)
    expected = [[10] * 3, [round(10 * told)] * 3]
    np.testing.assert_array_equal([found.history[1, 0, :3], found.board[0, :3]], expected)


@pytest.mark.parametrize("how", ["resample", "remask"])
def test_every_step_draws_anew(how):
    """Digits of one cell at steps that rewrite it agree as often as chance has it, 1 in 4."""
    question = jnp.zeros((400, CELLS), jnp.int32)
    draws = dict(k=CELLS // 2, temperature=1.0, history=STEPS)
    if how == "resample":
        found = sampling.resample(blind_jump, question, jax.random.key(0), STEPS, DIGITS, **draws)
        pairs = np.asarray(found.history)[2:4]  # half of the cells rewritten in between
        same, chance = (pairs[0] == pairs[1]).mean(), 0.5 + 0.5 / DIGITS
    else:
        found = sampling.remask(blind_jump, question, jax.random.key(0), STEPS, DIGITS, MASK, **draws)
        past = np.asarray([*found.history, found.board])
        shown, hidden = past[:-2] != MASK, past[1:-1] == MASK
        again = shown & hidden & (past[2:] != MASK)
        same, chance = (past[:-2] == past[2:])[again].mean(), 1 / DIGITS
        assert again.sum() > 1000
    assert abs(same - chance) < 0.06


@pytest.mark.parametrize("by_holding", [True, False])
def test_distrust_is_the_holding_score_or_what_the_jump_gives_other_digits(by_holding):
    rng = np.random.default_rng(0)
    jump, holding, z = rng.normal(size=(3, 5, DIGITS)), rng.normal(size=(3, 5)), rng.integers(1, DIGITS + 1, (3, 5))
    J = np.exp(jump) / np.exp(jump).sum(-1, keepdims=True)
    other = 1 - np.take_along_axis(J, z[..., None] - 1, axis=-1)[..., 0]
    found = sampling.heads.distrust(*map(jnp.asarray, (jump, holding, z)), by_holding)
    np.testing.assert_allclose(np.exp(found), 1 / (1 + np.exp(-holding)) if by_holding else other, rtol=1e-5)


def test_a_board_that_has_stopped_keeps_its_cells_whatever_the_step_says():
    stops, z = jnp.asarray([0, 1, 3, 9]), jnp.zeros((4, 2), jnp.int32)
    add = lambda z, known, i: (z + 1, known, i + 1 < stops)  # noqa: E731
    found = sampling.walk.walk(add, z, (), stops > 0, 5, history=6)
    np.testing.assert_array_equal(found.board[:, 0], [0, 1, 3, 5])
    np.testing.assert_array_equal(found.calls, [0, 1, 3, 5])
    np.testing.assert_array_equal(found.history[:, 2, 1], [0, 1, 2, 3, 3, 3])
