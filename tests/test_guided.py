"""The R-guided reveal: what it may never do whatever R says, and where it must be a sampler that is known."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gidd_jax import sampling
from gidd_jax.sampling import ARMS, Arm

V, MASK, S, T, B = 5, 5, 13, 7, 6
LOGITS = jnp.linspace(-1.0, 1.5, V + 1)


def guess(z, share):
    """Logits that depend on the place and on what is shown, an R that depends on both; the mask is the likeliest."""
    shown = (z != MASK).astype(jnp.float32)
    place = jnp.arange(z.shape[1], dtype=jnp.float32)[None]
    logits = LOGITS[None, None] * jnp.cos(place)[..., None] + 0.3 * shown.mean(1)[:, None, None]
    r = 0.5 + 0.5 * jnp.sin(3 * place + share[:, None] + jnp.where(z == MASK, 0, z).sum(1)[:, None])
    return logits.at[..., MASK].set(9.0), r


def keys(seed=0, count=B):
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(count))


@functools.partial(jax.jit, static_argnames="steps")
def run(keys, z, arm, pace=None, steps=T):
    return sampling.guided(keys, guess, z, steps, MASK, arm, pace)


def start(count=B):
    return jnp.full((count, S), MASK).at[:, :3].set(jnp.array([[1, 0, 4]]))


@pytest.mark.parametrize("name", ARMS)
def test_every_mask_is_filled_the_prompt_stays_and_the_mask_is_never_drawn(name):
    found = run(keys(), start(), ARMS[name])
    tokens = np.asarray(found.tokens)
    assert (tokens[:, :3] == [1, 0, 4]).all() and (tokens < MASK).all() and (tokens >= 0).all()
    np.testing.assert_array_equal(found.counts.sum(0), S - 3)
    assert np.isfinite(np.asarray(found.entropy)).all()


def test_counts_are_those_of_reveal_counts_for_the_r_that_was_used():
    found = run(keys(), start(), Arm(span=0.8, lo=0.6))
    wanted = sampling.reveal_counts(jnp.full(B, S - 3), found.r, 0.8, 0.6)
    np.testing.assert_array_equal(found.counts, wanted)
    clamped = run(keys(), start(), Arm(clamp=jnp.array([0.0, 0.3, 0.5, 0.7, 1.0, jnp.nan])))
    used = jnp.array([0.0, 0.3, 0.5, 0.7, 1.0])
    wanted = sampling.reveal_counts(jnp.full(5, S - 3), jnp.broadcast_to(used[None], (T, 5)))
    np.testing.assert_array_equal(clamped.counts[:, :5], wanted)
    np.testing.assert_array_equal(clamped.counts[:, 5], run(keys(), start(), Arm()).counts[:, 5])
    given = run(keys(), start(), Arm(), jnp.full((T, B), 0.7))
    np.testing.assert_array_equal(given.counts[:, 0], clamped.counts[:, 3])


def test_a_batch_is_as_many_batches_of_one_and_an_empty_prompt_changes_nothing():
    whole = run(keys(), start(), ARMS["remdm_guided"])
    for row in (0, B - 1):
        alone = run(keys()[row : row + 1], start(1), ARMS["remdm_guided"])
        np.testing.assert_array_equal(alone.tokens[0], whole.tokens[row])
    full = jnp.tile(jnp.arange(S) % V, (2, 1))
    done = run(keys(count=2), full, Arm())
    np.testing.assert_array_equal(done.tokens, full)
    assert (np.asarray(done.counts) == 0).all() and (np.asarray(done.entropy) == 0).all()


def test_r_without_span_or_order_changes_nothing_to_the_bit():
    mute = Arm(span=0.0, agreement=0.0)
    free = run(keys(), start(), mute)
    for clamp in (0.0, 0.3, 0.7, 1.0):
        np.testing.assert_array_equal(run(keys(), start(), mute._replace(clamp=clamp)).tokens, free.tokens)
    assert (np.asarray(run(keys(), start(), Arm(clamp=1.0)).tokens) != np.asarray(free.tokens)).any()


def test_without_masking_again_a_shown_token_stays_and_with_it_some_are_taken_back():
    seen = []

    def spy(z, share):
        jax.debug.callback(lambda z: seen.append(np.array(z)), z, ordered=True)
        return guess(z, share)

    for again in (0.0, 1.0):
        seen.clear()
        sampling.guided(keys(), spy, start(), T, MASK, Arm(again=again))
        jax.effects_barrier()
        taken = [((a != MASK) & (a != b)).sum() for a, b in itertools.pairwise(seen)]
        assert (sum(taken) > 0) == bool(again)


def test_the_order_is_confidence_times_half_plus_half_r_ties_by_place():
    certain = jnp.where(jnp.arange(V + 1) == 2, 30.0, 0.0)  # every draw is 2, of the same probability everywhere
    r = jnp.linspace(0.0, 1.0, S)[None]
    seen = []

    def look(z, share):
        jax.debug.callback(lambda z: seen.append(np.array(z[0])), z, ordered=True)
        return jnp.broadcast_to(certain[None, None], (*z.shape, V + 1)), jnp.broadcast_to(r, z.shape)

    blank = jnp.full((1, S), MASK)
    for arm, first in ((Arm(clamp=0.5), range(2)), (Arm(span=0.0, lo=1.0), (S - 1, S - 2))):
        seen.clear()
        sampling.guided(keys(count=1), look, blank, S // 2, MASK, arm)
        jax.effects_barrier()
        assert set(np.flatnonzero(seen[1] != MASK)) == set(first)


def test_a_random_order_is_random_and_ancestral_counts_are_binomial():
    """Chi-square of which cell is shown first, and of how many are shown at the first step, at alpha 1e-3."""
    count, blank = 4000, jnp.full((4000, 4), MASK)
    seen = []

    def flat(z, share):
        jax.debug.callback(lambda z: seen.append(np.array(z)), z, ordered=True)
        return jnp.zeros((*z.shape, V + 1)), jnp.zeros(z.shape)

    sampling.guided(keys(1, count), flat, blank, 4, MASK, ARMS["random_order"])
    jax.effects_barrier()
    first = np.argmax(seen[1] != MASK, axis=1)
    assert stats.chisquare(np.bincount(first, minlength=4)).pvalue > 1e-3
    found = run(keys(2, count), blank, ARMS["ancestral"], steps=4)
    shown = np.bincount(np.asarray(found.counts[0]), minlength=5)
    assert stats.chisquare(shown, count * stats.binom.pmf(np.arange(5), 4, 0.25)).pvalue > 1e-3


def test_tokens_are_drawn_from_the_softmax_without_the_mask():
    count = 4000
    found = run(keys(3, count), jnp.full((count, 1), MASK), ARMS["random_order"], steps=1)
    p = jax.nn.softmax(LOGITS[:V])
    drawn = np.bincount(np.asarray(found.tokens[:, 0]), minlength=V)
    assert stats.chisquare(drawn, count * np.asarray(p, np.float64) / p.sum().item()).pvalue > 1e-3


def test_shuffling_moves_r_among_masked_cells_only_and_keeps_its_values():
    masked = jnp.arange(S)[None] % 3 != 0
    r = jnp.linspace(0.0, 1.0, S)[None]
    from gidd_jax.sampling.guided import _permuted

    moved = np.asarray(_permuted(jax.random.uniform(jax.random.key(0), (1, S)), r, masked))[0]
    hidden = np.asarray(masked)[0]
    np.testing.assert_array_equal(moved[~hidden], np.asarray(r)[0][~hidden])
    np.testing.assert_array_equal(np.sort(moved[hidden]), np.asarray(r)[0][hidden])
    assert (moved[hidden] != np.asarray(r)[0][hidden]).any()


def test_the_proposals_own_counts_leave_masks_over_or_ask_for_more_than_there_are():
    counts = sampling.proposal_counts(jnp.array([100, 100, 100]), jnp.tile(jnp.array([[0.3, 0.5, 0.7]]), (11, 1)))
    assert counts.left_over.tolist() == [8, 0, 0]
    assert counts.asked[-1].tolist() == [92, 100, 108] and counts.asked[0].tolist() == [0, 0, 0]
    np.testing.assert_array_equal(counts.revealed.sum(0) + counts.left_over, 100)


def spoken(judge):
    """Two tokens as likely as each other everywhere, and the R of ``judge`` [V]."""

    def look(z, share):
        logits = jnp.where(jnp.arange(V + 1) < 2, 0.0, -30.0)
        shape = (*z.shape, V + 1)
        return jnp.broadcast_to(logits[None, None], shape), jnp.broadcast_to(jnp.array(judge)[None, None], shape)

    return look


FIRST_ONLY = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["guided", "remdm_guided", "shuffled"])
def test_a_judge_that_gives_all_tokens_of_a_cell_one_r_is_that_r_to_the_bit(name):
    arm = Arm(shuffled=1.0) if name == "shuffled" else ARMS[name]

    def judged(z, share):
        logits, r = guess(z, share)
        return logits, jnp.broadcast_to(r[..., None], logits.shape)

    by_cell = run(keys(), start(), arm)
    by_token = jax.jit(lambda k: sampling.guided(k, judged, start(), T, MASK, arm))(keys())
    jax.tree.map(np.testing.assert_array_equal, by_cell, by_token)


def test_a_judge_of_tokens_has_the_tokens_it_likes_shown_first_and_sets_the_pace_by_them():
    """Worked by hand: of 12 cells k draw token 0, whose R is 1; six are shown, and of these min(k, 6) are 0s."""
    seen = []

    def look(z, share):
        jax.debug.callback(lambda z: seen.append(np.array(z)), z, ordered=True)
        return spoken(FIRST_ONLY)(z, share)

    alone = Arm(span=0.0, lo=1.0, confidence=0.0)
    found = sampling.guided(keys(4, 64), look, jnp.full((64, 12), MASK), 2, MASK, alone)
    jax.effects_barrier()
    zeros = np.asarray(found.r[0]) * 12
    np.testing.assert_allclose(zeros, np.round(zeros), atol=1e-5)
    assert stats.chisquare(*_halves(zeros)).pvalue > 1e-3
    np.testing.assert_array_equal((seen[1] == 0).sum(1), np.minimum(np.round(zeros), 6))
    np.testing.assert_array_equal((seen[1] != MASK).sum(1), 6)
    paced = sampling.guided(keys(4, 64), spoken(FIRST_ONLY), jnp.full((64, 12), MASK), 2, MASK, Arm(span=1.0, lo=0.0))
    np.testing.assert_array_equal(paced.r[0], found.r[0])
    np.testing.assert_array_equal(paced.counts, sampling.reveal_counts(jnp.full(64, 12), paced.r, 1.0, 0.0))


def _halves(zeros):
    """How many rows drew fewer than 6, 6, and more of the two tokens, and how many of a fair coin would."""
    have = [(zeros < 5.5).sum(), (abs(zeros - 6) < 0.5).sum(), (zeros > 6.5).sum()]
    six = stats.binom.pmf(6, 12, 0.5)
    return have, 64 * np.array([(1 - six) / 2, six, (1 - six) / 2])


def test_a_judge_of_tokens_says_what_is_masked_again():
    seen = []

    def look(z, share):
        jax.debug.callback(lambda z: seen.append(np.array(z)), z, ordered=True)
        return spoken(FIRST_ONLY)(z, share)

    sampling.guided(keys(5, 16), look, jnp.full((16, 12), MASK), 6, MASK, ARMS["remdm_guided"])
    jax.effects_barrier()
    pairs = list(itertools.pairwise(seen))
    assert not any(((a == 0) & (b != 0)).any() for a, b in pairs)
    assert sum(((a == 1) & (b != 1)).sum() for a, b in pairs) > 0
