"""Likelihood bounds on a toy whose likelihood and posterior are known, and the errors they are stated with."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gidd_jax import corruption, likelihood, losses, sampling, schedules
from gidd_jax.errors import InputError
from tests import toy

ALPHA = 1e-3
SIGMAS = stats.norm.isf(ALPHA / 2)
SNR = [name for name in toy.SCHEDULES if name.startswith("snr")]
NLL = -np.log(toy.DATA)
ENTROPY = toy.DATA @ NLL / toy.S


COUNT = 4000
NONE_GIVEN = (False, False, False)


def drawn(seed=0):
    """Sequences of the toy data [4000,3], and -log p of each."""
    index = np.random.default_rng(seed).choice(len(toy.CLEAN), COUNT, p=toy.DATA)
    return jnp.asarray(toy.CLEAN[index]), NLL[index]


@functools.cache
def program(given, settings):
    """One compiled program for all tests that differ in numbers only."""

    def estimate(key, schedule, bend, x, valid):
        denoise = toy.ideal(schedule, given, bend)
        return likelihood.elbo(key, schedule, denoise, x, valid, **dict(settings))

    return jax.jit(estimate)


def run(name, x, seed=0, bend=1.0, given=NONE_GIVEN, valid=None, **settings):
    valid = jnp.ones(x.shape, bool) if valid is None else valid
    settings = tuple(sorted(({"strata": 16} | settings).items()))
    return program(given, settings)(jax.random.key(seed), toy.SCHEDULES[name], bend, x, valid)


def apart(bound, nll):
    """Mean over sequences of bound - nll, in standard errors, and one standard error."""
    difference = np.asarray(bound, np.float64) - nll
    error = difference.std() / len(nll) ** 0.5
    return difference.mean() / error, error


@pytest.mark.parametrize(
    "name", ["hybrid", "masked", "hybrid g2", "linear", *(pytest.param(n, marks=pytest.mark.slow) for n in SNR)]
)
def test_the_bound_is_tight_for_the_true_posterior_and_loose_for_another(name):
    x, nll = drawn()
    found = run(name, x)
    summary = likelihood.summarise([found], characters=np.full(COUNT, 6))
    value, error = summary.nats_per_token
    assert abs(value - ENTROPY) < SIGMAS * error and error < 0.02
    # Against the known likelihood of the very sequences.
    assert abs(apart(found.total(), nll)[0]) < SIGMAS
    np.testing.assert_allclose(summary.perplexity, [np.exp(value), np.exp(value) * error], rtol=1e-6)
    np.testing.assert_allclose(summary.bits_per_character, np.array([value, error]) / 2 / np.log(2), rtol=1e-6)
    parts = [summary.path.nats.sum(), summary.reconstruction.value, summary.prior.value]
    np.testing.assert_allclose(sum(parts), value, rtol=1e-6)
    assert (summary.sequences, summary.tokens) == (COUNT, 3 * COUNT)
    blunt = run(name, x, bend=0.3)
    assert apart(blunt.total(), nll)[0] > SIGMAS


def test_errors_cover_as_often_as_they_say():
    """320 estimates from 100 sequences each: 95 % of the 95 % intervals hold the truth, up to a binomial's range."""
    groups, each = 320, 100
    total = [np.asarray(run("hybrid", drawn(seed)[0], seed).total()) for seed in range(groups * each // COUNT)]
    total = np.float64(total).reshape(groups, each)
    found = [likelihood.ratio(row, np.full(each, toy.S)) for row in total]
    inside = sum(abs(value - ENTROPY) < stats.t.ppf(0.975, each - 1) * error for value, error in found)
    low, high = stats.binom.interval(1 - ALPHA, groups, 0.95)
    assert low <= inside <= high
    # The scatter of the estimates is the error they state.
    np.testing.assert_allclose(np.std([v for v, _ in found]), np.sqrt(np.mean([e**2 for _, e in found])), rtol=0.15)


SAME = jnp.broadcast_to(jnp.array([[0, 1, 2]]), (COUNT, 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hybrid", "masked"])
def test_strata_vary_less_than_independent_draws(name):
    """One sequence, 16 model calls."""
    stratified = np.var(run(name, SAME, reference=True).total())
    independent = np.var(run(name, SAME, seed=1, strata=1, draws=16, reference=True).total())
    assert stratified < 0.8 * independent


@pytest.mark.slow
def test_strata_of_the_logit_vary_less_than_times_as_training_draws_them():
    schedule = toy.SCHEDULES["hybrid"]
    denoise = toy.ideal(schedule)

    @jax.jit
    def plain(key):
        def one(key):
            time_key, noise_key = jax.random.split(key)
            t = corruption.sample_times(time_key, schedule, (COUNT,), low_discrepancy=False)
            z, _ = corruption.corrupt(noise_key, schedule, SAME, t)
            return losses.gidd_terms(schedule, denoise(z, t), SAME, z, t).elbo.sum(-1)

        return jax.lax.map(one, jax.random.split(key, 16)).mean(0)

    assert np.var(run("hybrid", SAME, reference=True).total()) < 0.2 * np.var(plain(jax.random.key(2)))


@pytest.mark.slow
def test_the_reference_leaves_out_both_ends_and_the_clipped_range():
    x, _ = drawn()
    ours, theirs = run("hybrid", x), run("hybrid", x, reference=True)
    np.testing.assert_allclose(theirs.path * (1 - 2e-4), ours.path, rtol=1e-5)
    assert not theirs.prior.any() and not theirs.reconstruction.any() and (ours.prior > 0).all()


@pytest.mark.parametrize(
    "name", ["snr uniform", *(pytest.param(n, marks=pytest.mark.slow) for n in toy.SCHEDULES if n != "snr uniform")]
)
def test_the_ends_are_the_divergence_and_the_reverse_step_of_their_names(name):
    schedule = toy.SCHEDULES[name]
    z, x = jnp.arange(toy.V)[:, None], jnp.full((toy.V, 1), 1)
    clean = 1000.0 if name in SNR else 0.0
    unclipped = schedules.log_snr(toy.V, toy.MASK, 1.0, schedule.shift, -9.0, 1000.0) if name in SNR else schedule

    @jax.jit
    def both(schedule, unclipped, logits):
        uniform = jnp.where(jnp.arange(toy.V) == toy.MASK, 0.0, 1 / 3)
        ends = jnp.stack([jax.nn.one_hot(1, toy.V), uniform])[None]
        t = schedule.time_of(0.3)
        found = likelihood.prior(schedule), likelihood.reconstruction(schedule, logits, x, z, t)
        probs = sampling.clean_probs(schedule, logits)
        seen = corruption.marginal(schedule, jax.nn.one_hot(x, toy.V), t)
        back = sampling.reverse_probs(unclipped, probs, z, t, clean)
        return *found, corruption.marginal(schedule, ends, schedule.time_of(1.0))[0], seen, back

    with jax.enable_x64(True):
        logits = np.random.default_rng(0).normal(size=(toy.V, 1, toy.V + 2))
        logits[..., toy.V :] = -np.inf
        wide, far = (jax.tree.map(np.float64, s) for s in (schedule, unclipped))
        prior, reconstruction, (q, p), seen, back = jax.tree.map(np.asarray, both(wide, far, logits))
    np.testing.assert_allclose(prior, (q[q > 0] * np.log(q[q > 0] / p[q > 0])).sum(), rtol=1e-9, atol=1e-13)
    each = np.arange(toy.V)
    possible = seen[each, 0, each] > 0
    np.testing.assert_allclose(reconstruction[possible, 0], -np.log(back[possible, 0, 1]), rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_cells_that_are_not_valid_stay_clean_and_are_conditioned_on():
    """The last cell given: the bound is the conditional entropy of the other two, and two tokens are counted."""
    x, _ = drawn()
    valid = jnp.broadcast_to(jnp.array([[True, True, False]]), x.shape)
    found = run("hybrid", x, given=(False, False, True), valid=valid)
    last = toy.CLEAN[:, 2]
    marginal = np.array([toy.DATA[last == v].sum() for v in range(3)])[last]
    value, error = likelihood.summarise([found]).nats_per_token
    assert found.tokens.tolist() == [2] * COUNT
    assert abs(value - toy.DATA @ -np.log(toy.DATA / marginal) / 2) < SIGMAS * error


@pytest.mark.slow
def test_lazy_logits_give_the_same_and_masks_in_x_never_count():
    x = drawn()[0].at[0, 2].set(toy.MASK).at[1].set(toy.MASK)
    schedule = toy.SCHEDULES["hybrid"]

    @jax.jit
    def lazily(key, x):
        def denoise(z, t):
            return losses.LazyLogits(toy.ideal(schedule)(z, t), jnp.eye(toy.V))

        return likelihood.elbo(key, schedule, denoise, x, strata=16)

    whole, lazy = run("hybrid", x), lazily(jax.random.key(0), x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), lazy, whole)
    assert whole.tokens.tolist() == [2, 0] + [3] * (COUNT - 2) and not whole.total()[1]


def test_ratios_weigh_sequences_by_their_length_and_pool_over_batches():
    nats, tokens = np.array([3.0, 10.0, 1.0, 8.0]), np.array([2.0, 5.0, 1.0, 3.0])
    value, error = likelihood.ratio(nats, tokens)
    assert value == 2.0
    assert error == pytest.approx(np.sqrt(4 / 3 * ((nats - 2 * tokens) ** 2).sum()) / 11)
    # The jackknife is another way to the same error, up to terms of order 1/N.
    rng = np.random.default_rng(0)
    many = rng.integers(5, 50, 500).astype(float)
    sums = many * 1.5 + rng.normal(size=500) * np.sqrt(many)
    without = (sums.sum() - sums) / (many.sum() - many)
    jackknife = np.sqrt(499 / 500 * ((without - without.mean()) ** 2).sum())
    assert likelihood.ratio(sums, many).error == pytest.approx(jackknife, rel=0.01)
    parts = [run("hybrid", drawn(seed)[0], seed) for seed in range(2)]
    joined = likelihood.summarise(parts)
    total = np.concatenate([part.total() for part in parts])
    np.testing.assert_allclose(
        joined.nats_per_token, likelihood.ratio(np.float64(total), np.full(2 * COUNT, 3.0)), 1e-6
    )
    assert joined.bits_per_character is None and np.isnan(likelihood.ratio(nats[:1], tokens[:1]).error)


def test_mistakes_are_refused_in_one_line():
    with pytest.raises(InputError, match="strata 0 and draws 1"):
        likelihood.elbo(jax.random.key(0), toy.SCHEDULES["hybrid"], lambda z, t: z, drawn()[0], strata=0)
    found = run("hybrid", drawn()[0])
    for batches, characters in (([], None), ([found], [1, 2]), ([found], [0] * COUNT)):
        with pytest.raises(InputError, match="likelihood: ") as caught:
            likelihood.summarise(batches, characters)
        assert "\n" not in str(caught.value)
