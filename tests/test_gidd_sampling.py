"""Reverse processes on a toy small enough to enumerate: three cells of three tokens and a mask, 64 states, 27 clean."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gidd_jax import corruption, losses, sampling, schedules
from tests.toy import CLEAN, DATA, MASK, SCHEDULES, STATES, S, V, posterior

pytestmark = pytest.mark.slow  # most of a minute of compiling


ALPHA = 1e-3
GOLDEN = pathlib.Path(__file__).parent / "golden" / "gidd_reveal.npz"


def forward(schedule, t, dtype=jnp.float32):
    """q_t(z|x) of every clean sequence and state [27, 64], from the schedule's point masses."""
    keep = schedules.alpha(schedule, t)
    mass_4 = schedules.beta_pi(schedule, t)
    same = jnp.asarray(CLEAN)[:, None] == jnp.asarray(STATES)[None]
    return (keep * same + mass_4[jnp.asarray(STATES)][None]).prod(-1).astype(dtype)


def index(z):
    return (z * jnp.array([16, 4, 1])[None]).sum(-1)


def ideal(schedule):
    """The denoiser that knows the posterior, at a time that all rows share: 64 states are looked up."""

    def denoise(z, t):
        return jnp.log(jnp.maximum(posterior(schedule, STATES, t[0])[index(z)], 1e-30))

    return denoise


def distance(tokens):
    """Total variation between the frequencies of samples and the data; any mask left counts in full."""
    counts = np.bincount(np.asarray(index(tokens)), minlength=64) / len(tokens)
    truth = np.zeros(64)
    truth[np.asarray(index(jnp.asarray(CLEAN)))] = DATA
    return 0.5 * np.abs(counts - truth).sum()


@pytest.mark.parametrize(
    "name", ["hybrid", "snr uniform", *(pytest.param(n, marks=pytest.mark.slow) for n in ("linear", "snr balanced"))]
)
def test_ancestral_sampling_with_the_true_posterior_draws_the_data(name):
    """20,000 samples, 27 outcomes: sampling alone gives a distance of about 0.013; factorised steps cost O(1/steps)."""
    schedule, count = SCHEDULES[name], 20_000

    def run(key, steps, denoise):
        times = sampling.time_grid(schedule, steps)
        z = corruption.prior(jax.random.fold_in(key, 1), schedule, (count, S), times[0])
        return sampling.ancestral(jax.random.fold_in(key, 2), schedule, denoise, z, times)

    run = jax.jit(run, static_argnums=(1, 2))
    denoise = ideal(schedule)
    many, few = (run(jax.random.key(n), n, denoise) for n in (400, 2))
    assert bool((many != MASK).all())
    assert distance(many) < 0.03
    # Controls: two steps cannot follow the correlations, and a model without the posterior cannot draw the data.
    assert distance(few) > 0.06
    blind = run(jax.random.key(3), 400, lambda z, t: jnp.zeros((*z.shape, V)))
    assert distance(blind) > 0.2


def test_masked_sampling_draws_the_data_with_few_model_calls():
    schedule, count = schedules.linear(V, MASK, 0.0), 20_000
    run = jax.jit(sampling.masked, static_argnums=(1, 2))
    start, times = jnp.full((count, S), MASK), sampling.time_grid(schedule, 100)
    tokens, calls = run(jax.random.key(0), schedule, ideal(schedule), start, times)
    assert distance(tokens) < 0.03 and int(calls) == 100
    prompt = jnp.array([[1, MASK, MASK]])
    tokens, calls = run(jax.random.key(1), schedule, ideal(schedule), prompt, times)
    assert int(calls) <= 2 and int(tokens[0, 0]) == 1 and bool((tokens != MASK).all())
    tokens, calls = run(jax.random.key(1), schedule, ideal(schedule), jnp.array([[1, 2, 0]]), times)
    assert int(calls) == 0 and tokens.tolist() == [[1, 2, 0]]


@pytest.mark.parametrize(
    "name",
    ["hybrid", "snr balanced", "masked", *(pytest.param(n, marks=pytest.mark.slow) for n in ("linear", "hybrid g2"))],
)
def test_the_elbo_of_the_true_posterior_is_the_exact_likelihood(name):
    """Sum over states and quadrature over time, float64: prior + E[elbo] + reconstruction = -log p(x) for every x.

    With another model it is larger on average over the data.
    """
    with jax.enable_x64(True):
        schedule = jax.tree.map(np.float64, SCHEDULES[name])
        nodes, weights = np.polynomial.legendre.leggauss(60)
        snr = name.startswith("snr")
        # Even in l for log-SNR and in logit(t) for (0,1), whose Jacobian is t (1 - t).
        l, scale = 8.0 * nodes, 8.0 * weights
        times = jnp.asarray(l if snr else 1 / (1 + np.exp(-l)))
        jacobian = schedule.snr_density(times) if snr else times * (1 - times)
        cells = (len(CLEAN), len(STATES))
        x = jnp.broadcast_to(jnp.asarray(CLEAN)[:, None], (*cells, S)).reshape(-1, S)
        z = jnp.broadcast_to(jnp.asarray(STATES)[None], (*cells, S)).reshape(-1, S)

        @jax.jit
        def expected_elbo(t, bend):
            logits = jnp.log(jnp.maximum(posterior(schedule, STATES, t), 1e-300)) * bend
            logits = jnp.broadcast_to(logits[None], (*cells, S, V)).reshape(-1, S, V)
            elbo = losses.gidd_terms(schedule, logits, x, z, t).elbo.sum(-1).reshape(cells)
            q = forward(schedule, t, jnp.float64)
            return jnp.where(q > 0, q * elbo, 0.0).sum(-1)

        def bound(bend):
            path = sum(c * j * expected_elbo(t, bend) for c, j, t in zip(scale, jacobian, times, strict=True))
            noisy, clean = (-8.0, 8.0) if snr else (1 / (1 + np.exp(-8.0)), 1 / (1 + np.exp(8.0)))
            q = np.asarray(forward(schedule, noisy, jnp.float64))
            r = np.asarray(forward(schedule, clean, jnp.float64))
            with np.errstate(divide="ignore", invalid="ignore"):
                prior = np.nansum(q * (np.log(q) - np.log(DATA @ q)[None]), 1)
                known = DATA[:, None] * r / (DATA @ r)[None]
                reconstruction = -np.nansum(r * np.log(known), 1)
            return np.asarray(path) + prior + reconstruction

        np.testing.assert_allclose(bound(1.0), -np.log(DATA), rtol=1e-5)
        assert DATA @ bound(0.7) > DATA @ -np.log(DATA) + 0.01


def test_reverse_probs_compose_to_the_marginal():
    """sum_z q_t(z|x) q(z_s|z_t = z, x) = q_s(.|x), for a point belief; every row sums to 1, also at t = 1 and s = 0."""
    for schedule in SCHEDULES.values():
        pairs = [(0.7, 0.3)] if not isinstance(schedule, schedules.LogSnr) else [(-1.0, 0.5)]
        pairs += [(1.0, 0.0)] if len(pairs) and pairs[0][0] > 0 else []
        for t, s in pairs:
            z = jnp.arange(V)[:, None]
            probs = jnp.broadcast_to(jax.nn.one_hot(1, V), (V, 1, V))
            back = sampling.reverse_probs(schedule, probs, z, t, s)
            np.testing.assert_allclose(back.sum(-1), 1, rtol=1e-5)
            q_t = corruption.marginal(schedule, probs[:1], t)[0, 0]
            np.testing.assert_allclose(q_t @ back[:, 0], corruption.marginal(schedule, probs[:1], s)[0, 0], atol=1e-6)


def test_times_may_differ_by_row_and_protected_cells_stay(key):
    schedule = schedules.hybrid(V, MASK, 0.3)
    probs, z = jax.nn.softmax(jax.random.normal(key, (2, S, V))), jnp.array([[0, 3, 1], [2, 3, 3]])
    t, s = jnp.array([0.5, 0.9]), jnp.array([0.2, 0.8])
    both = sampling.reverse_probs(schedule, probs, z, t, s)
    for row in range(2):
        alone = sampling.reverse_probs(schedule, probs[row : row + 1], z[row : row + 1], t[row], s[row])
        np.testing.assert_allclose(both[row], alone[0], rtol=1e-6)
    held = jnp.array([[True, False, False], [False, True, False]])
    times = jnp.stack([jnp.linspace(0.9, 0.1, 5), jnp.linspace(0.5, 0.05, 5)], 1)
    args = (schedule, ideal(schedule), z, times, held)
    for tokens in (
        sampling.ancestral(jax.random.key(1), *args),
        sampling.adaptive(jax.random.key(2), *args[:4], protected=held),
        sampling.masked(jax.random.key(3), *args)[0],
        sampling.self_correct(jax.random.key(4), *args[:3], protected=held)[0],
    ):
        assert bool((tokens == z)[held].all()) and tokens.shape == z.shape
    assert bool((sampling.adaptive(jax.random.key(5), *args[:4], top_k=3) != MASK).all())


def test_one_reference_step_returns_its_masks_and_ours_does_not(key):
    schedule, z = schedules.hybrid(V, MASK, 0.3), jnp.full((200, S), MASK)
    for compat in (True, False):
        times = sampling.time_grid(schedule, 1, compat)
        tokens = sampling.ancestral(
            jax.random.fold_in(key, compat), schedule, ideal(schedule), z, times, reference_compat=compat
        )
        assert bool((tokens == MASK).all()) == compat and bool((tokens == MASK).any()) == compat


def test_adaptive_sampling_fills_masks_greedily_and_follows_its_temperature():
    schedule = schedules.log_snr(V, MASK)
    wish = jnp.log(jnp.array([[0.7, 0.2, 0.1, 0.0], [0.1, 0.8, 0.1, 0.0], [0.05, 0.05, 0.9, 0.0]]) + 1e-9)

    def denoise(z, t):
        return jnp.broadcast_to(wish[None], (*z.shape, V))

    start, times = jnp.full((2000, S), MASK), jnp.zeros(3)
    greedy = sampling.adaptive(jax.random.key(0), schedule, denoise, start, times)
    assert bool((greedy == jnp.array([[0, 1, 2]])).all())
    drawn = sampling.adaptive(jax.random.key(1), schedule, denoise, start, times[:1], top_k=3, temperature=1.0)
    counts = np.bincount(np.asarray(drawn[:, 0]), minlength=V)[:3]
    assert stats.chisquare(counts, 2000 * np.array([0.7, 0.2, 0.1])).pvalue > ALPHA


def test_self_correction_returns_the_best_state_and_stops_where_nothing_changes():
    """A model that agrees with 0 0 0 until it sees it, and then wants 1 1 1: the best state is the one on the way."""
    schedule = schedules.hybrid(V, MASK, 0.3)

    def denoise(z, t):
        wanted = jnp.where((z == 0).all(-1), 1, 0)
        return 50.0 * jax.nn.one_hot(jnp.broadcast_to(wanted[:, None], z.shape), V)

    z = jnp.array([[2, 0, 0], [2, 2, 0]])
    best, share = sampling.self_correct(jax.random.key(0), schedule, denoise, z, steps=6, patience=2)
    assert best.tolist() == [[0, 0, 0], [0, 0, 0]] and share.tolist() == [1.0, 1.0]
    still = jnp.array([[0, 1, 2]])
    content, share = sampling.self_correct(
        jax.random.key(1), schedule, lambda z, t: 50.0 * jax.nn.one_hot(z, V), still, steps=4
    )
    assert content.tolist() == still.tolist() and share.tolist() == [1.0]


def test_draws_follow_their_probabilities(key):
    probs = jnp.array([0.5, 0.3, 0.15, 0.0499, 1e-4, 0.0])
    tokens = sampling.draw(key, jnp.broadcast_to(probs, (1000, 400, 6)))
    counts = np.bincount(np.asarray(tokens).ravel(), minlength=6)
    assert counts[5] == 0
    assert stats.chisquare(counts[:5], 400_000 * np.float64(probs[:5]) / np.float64(probs[:5]).sum()).pvalue > ALPHA


@pytest.mark.slow
def test_tokens_below_6e_8_stay_reachable():
    """Two tokens, one at 4e-8, 2^28 draws: 11 expected, and an inverse CDF in float32 would never draw one."""
    probs = jnp.broadcast_to(jnp.array([1.0, 4e-8]), (2**12, 2**10, 2))
    count = jax.jit(lambda keys: jax.lax.map(lambda k: sampling.draw(k, probs).sum(), keys).sum())
    seen = int(count(jax.random.split(jax.random.key(0), 2**6)))
    low, high = stats.poisson(2**28 * 4e-8).interval(1 - ALPHA)
    assert low <= seen <= high


def test_the_noise_of_a_draw_keeps_its_tail():
    """4,096 tokens of 4e-7 each, 1.6e-3 together: 6,000 draws hold as many as they should, odd and even alike."""
    rare = 4096
    probs = jnp.concatenate([jnp.ones(1), jnp.full(rare, 4e-7)])
    tokens = np.asarray(sampling.draw(jax.random.key(0), jnp.broadcast_to(probs, (1, 6_000, rare + 1))))
    share = rare * 4e-7
    assert stats.binomtest(int((tokens > 0).sum()), 6_000, share / (1 + share)).pvalue > ALPHA
    # Odd and even neighbours alike: a float32 grid of 1.2e-7 would favour some.
    odd, even = ((tokens[tokens > 0] % 2 == parity).sum() for parity in (1, 0))
    assert stats.binomtest(int(odd), int(odd + even), 0.5).pvalue > ALPHA


def test_entropy_of_a_sample_is_that_of_its_frequencies():
    tokens = jnp.array([[0, 0, 1, 1], [2, 2, 2, 2], [0, 1, 2, 3]])
    np.testing.assert_allclose(sampling.sample_entropy(tokens, V), [np.log(2), 0, np.log(4)], atol=1e-6)


def test_reveal_counts_are_the_stored_ones_and_always_sum_to_what_remains():
    stored = np.load(GOLDEN)
    counts = sampling.reveal_counts(stored["L0"], jnp.asarray(stored["R"], jnp.float32))
    np.testing.assert_array_equal(counts, stored["n"])
    r = np.random.default_rng(0).random((12, 50)).astype(np.float32)
    remaining = np.random.default_rng(1).integers(0, 90, 50)
    counts = np.asarray(sampling.reveal_counts(remaining, r, span=0.8, lo=0.6))
    np.testing.assert_array_equal(counts.sum(0), remaining)
    assert (counts >= 0).all()
    even = sampling.reveal_counts(jnp.array([24]), jnp.full((8, 1), 0.5))
    assert even[:, 0].tolist() == [3] * 8
