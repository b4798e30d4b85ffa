"""The R-guided reveal against a loop over rows, steps and cells in numpy, fed the same random numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import sampling
from gidd_jax.sampling import ARMS, Arm
from gidd_jax.sampling.guided import _numbers
from tests.test_guided import MASK, B, S, T, V, guess, keys, run, start

drawn = jax.jit(_numbers, static_argnums=(2, 3))
ASKED = ARMS | {
    "all at once": Arm(span=0.8, lo=0.6, again=0.8, temperature=0.6, noise=0.3),
    "clamped": Arm(clamp=0.9, again=1.0, temperature=1.7),
    "confidence alone": Arm(agreement=0.0, again=0.5),
}


def row_by_row(row, z, arm, pace=None):
    """One row -> tokens, and by step R, the cells shown less those hidden again, and the entropy."""
    arm = Arm(*map(float, arm))
    own = z == MASK
    z, masked, exact, known, told = z.copy(), own.copy(), float(own.sum()), np.zeros(S), []
    for i in range(T):
        to_go, left = T - i, int(masked.sum())
        numbers = (
            np.asarray(each[0], np.float64) for each in drawn(keys()[row : row + 1], jnp.int32(i), (1, S), V + 1)
        )
        draws, coins, order, _, hide = numbers
        logits, r = guess(jnp.asarray(z)[None], jnp.asarray([left / max(int(own.sum()), 1)]))
        logits, r = np.array(logits[0], np.float64)[:, :MASK] / arm.temperature, np.asarray(r[0], np.float64)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        token = np.argmax(log_p + draws[:, :MASK], axis=-1)
        free = r[masked].mean() if left else 0.0
        entropy = -(np.exp(log_p) * log_p).sum(-1)[masked].mean() if left else 0.0

        r = r if np.isnan(arm.clamp) else np.full(S, arm.clamp)
        used = free if np.isnan(arm.clamp) else arm.clamp
        used = used if pace is None else pace[i]
        exact = 0.0 if to_go == 1 else exact * max(0.0, 1 - (arm.lo + arm.span * used) / to_go)
        count = left - min(int(np.floor(exact + 0.5)), left)
        if arm.coins:
            count = int((masked & (coins < 1 / to_go)).sum())
        score = arm.confidence * log_p[np.arange(S), token] + arm.agreement * np.log((1 + r) / 2) + arm.noise * order
        shown = sorted(np.flatnonzero(masked), key=lambda cell, score=score: -score[cell])[:count]
        # The greatest rate of masking again that keeps the marginals; none at the end.
        rate = min(1.0, (to_go - 1) / T / max(1 - to_go / T, 1e-6))
        hidden = [
            c for c in np.flatnonzero(own & ~masked) if hide[c] < arm.again * rate * (1 - arm.agreement * known[c])
        ]
        z[shown], z[hidden] = token[shown], MASK
        masked[shown], masked[hidden], known[shown] = False, True, r[shown]
        exact += len(hidden)
        told.append((free, len(shown) - len(hidden), entropy))
    return z, *map(np.array, zip(*told, strict=True))


@pytest.mark.parametrize("name", ASKED)
def test_every_arm_is_that_of_a_loop(name):
    found = run(keys(), start(), ASKED[name])
    for row in range(B):
        tokens, r, counts, entropy = row_by_row(row, np.asarray(start()[row]), ASKED[name])
        np.testing.assert_array_equal(found.tokens[row], tokens)
        np.testing.assert_array_equal(found.counts[:, row], counts)
        np.testing.assert_allclose(found.r[:, row], r, atol=1e-5)
        np.testing.assert_allclose(found.entropy[:, row], entropy, atol=1e-4)


def test_a_pace_of_another_row_sets_how_many_and_not_which():
    pace = np.linspace(0.1, 0.9, T)
    found = run(keys(), start(), Arm(span=0.8, lo=0.6), jnp.broadcast_to(jnp.asarray(pace)[:, None], (T, B)))
    for row in range(B):
        tokens, _, counts, _ = row_by_row(row, np.asarray(start()[row]), Arm(span=0.8, lo=0.6), pace)
        np.testing.assert_array_equal(found.tokens[row], tokens)
        np.testing.assert_array_equal(found.counts[:, row], counts)


def test_the_model_is_told_the_share_of_its_own_masks():
    """A prompt is none of them: shares fall from 1, with or without one."""
    told = []

    def spy(z, share):
        jax.debug.callback(lambda share: told.append(np.array(share)), share, ordered=True)
        return guess(z, share)

    sampling.guided(keys(), spy, start(), S - 3, MASK, Arm(span=0.0, lo=1.0))
    jax.effects_barrier()
    np.testing.assert_allclose(
        told, np.broadcast_to((np.arange(S - 3, 0, -1) / (S - 3))[:, None], (S - 3, B)), rtol=1e-6
    )
