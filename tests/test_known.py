"""Sources of known law against sums over every sequence and every path of states; the ELBO of the best denoiser."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gidd_jax import corruption, known, losses, schedules
from gidd_jax.errors import InputError

V, S, MASK = 3, 4, 4
"""Tokens of the sources and length of what is enumerated; token 3 is padding, which only noise ever shows."""

ALPHA = 1e-3
TIMES = np.array([[0.3, 0.6, 0.02, 0.97], [0.5, 0.5, 0.5, 0.5]])


def widened(source):
    """The source in float64, every row summing to 1 again."""
    return jax.tree.map(lambda p: np.float64(p) / np.float64(p).sum(-1, keepdims=True), source)


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def named():
    def sources():
        return {
            "chain": known.markov(jax.random.key(0), V, 0.5),
            "second order": known.markov(jax.random.key(1), V, 0.5, order=2),
            "hidden": known.hmm(jax.random.key(2), 2, V, 0.5, 0.7),
        }

    return jax.jit(sources)()


NAMES = ("chain", slow("second order"), "hidden")
EVERY_X = np.array(list(itertools.product(range(V), repeat=S)))
EVERY_Z = np.array(list(itertools.product(range(MASK + 1), repeat=S)))


def by_paths(source, x):
    """P(x) of each sequence: the sum over every path of states, in float64."""
    initial, transition, emission = (np.float64(p) for p in (source.initial, source.transition, source.emission))
    paths = np.array(list(itertools.product(range(len(initial)), repeat=x.shape[1])))
    moves = initial[paths[:, 0]] * np.prod(transition[paths[:, :-1], paths[:, 1:]], axis=1)
    return np.array([moves @ np.prod(emission[paths, row], axis=1) for row in x])


def noise_table(schedule, t):
    """q_t(z|v) for every token z of the schedule and v of the source, float64 [z, v]."""
    keep, noise = np.float64(schedules.alpha(schedule, t)), np.float64(schedules.beta_pi(schedule, t))
    return keep * np.eye(len(noise), V) + noise[:, None]


def marginals(weights):
    """sum over sequences of weights [N], by cell and token: [S,V], normalised."""
    mass = np.stack([[weights[EVERY_X[:, i] == v].sum() for v in range(V)] for i in range(S)])
    return mass / mass.sum(1, keepdims=True)


@pytest.mark.parametrize("name", ["chain", "second order", "hidden"])
def test_sources_are_stationary_distributions(named, name):
    source = named[name]
    for rows in source.initial, source.transition, source.emission:
        assert (rows >= 0).all()
        np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(source.initial @ source.transition, source.initial, atol=1e-7)
    assert source.vocab == V


def test_a_chain_that_hardly_mixes_keeps_its_digits():
    """Two states with rates 1e-7 and 3e-7 in float32: p = (3/4, 1/4), which a linear solver misses by far."""
    transition = np.float32([[1 - 1e-7, 1e-7], [3e-7, 1 - 3e-7]])
    np.testing.assert_allclose(known.stationary(transition), [0.75, 0.25], rtol=1e-6)


def test_order_two_remembers_two_tokens(named):
    source = named["second order"]
    for state, following in np.argwhere(np.array(source.transition) > 0):
        assert following // V == state % V
    assert (np.array(source.emission)[np.arange(V**2), np.arange(V**2) % V] == 1).all()


def test_concentration_is_traced_and_moves_the_entropy_alone():
    @jax.jit
    def one(c):
        source = known.markov(jax.random.key(3), V, c)
        return source, known.entropy_rate(source)

    (sharp, _), (plain, _), (flat, _) = made = [one(c) for c in (0.1, 1.0, 30.0)]
    rates = [float(rate) for _, rate in made]
    assert rates[0] < rates[1] < rates[2] < np.log(V)
    ranks = [np.argsort(each.transition, axis=1) for each in (sharp, plain, flat)]
    assert (ranks[0] == ranks[1]).all() and (ranks[1] == ranks[2]).all()


@pytest.mark.parametrize("name", [slow("chain"), slow("second order"), "hidden"])
def test_samples_follow_the_law(named, name):
    """Chi-square of 30,000 sequences over all 81, and of a late pair of tokens against the first: alpha = 1e-3."""
    source, count = named[name], 30_000
    x = np.array(known.sample(jax.random.key(4), source, count, 20))
    assert x.dtype == np.int32 and x.shape == (count, 20)
    seen = np.bincount(x[:, :S] @ V ** np.arange(S)[::-1], minlength=V**S)
    wanted = count * by_paths(source, EVERY_X)
    order = np.argsort(wanted)
    rare = max(1, (np.cumsum(wanted[order]) < 20).sum())
    pooled = [np.append(each[order][rare:], each[order][:rare].sum()) for each in (seen, wanted)]
    assert stats.chisquare(pooled[0], pooled[1] * count / pooled[1].sum()).pvalue > ALPHA
    pairs = [np.bincount(each @ [V, 1], minlength=V**2) for each in (x[:, -2:], x[:, :2])]
    assert stats.chi2_contingency(np.stack(pairs)).pvalue > ALPHA


@pytest.mark.parametrize("name", NAMES)
def test_likelihood_is_the_sum_over_paths(named, name):
    source = named[name]
    every = by_paths(source, EVERY_X)
    np.testing.assert_allclose(np.exp(known.log_likelihood(source, EVERY_X)), every, rtol=3e-6)
    hidden = np.array([[0, MASK, 2, MASK], [MASK, MASK, MASK, MASK]])
    fits = [(EVERY_X[:, 0] == 0) & (EVERY_X[:, 2] == 2), np.ones(len(EVERY_X), bool)]
    expected = [every[fit].sum() for fit in fits]
    np.testing.assert_allclose(np.exp(known.log_likelihood(source, hidden, MASK)), expected, rtol=3e-6)
    assert np.isneginf(known.log_likelihood(source, np.array([[0, 1, 3, 0]])))[0]


@pytest.mark.parametrize("name", ["chain", "second order", "hidden"])
def test_entropy_is_the_sum_over_sequences(named, name, monkeypatch):
    source = named[name]
    p = by_paths(source, EVERY_X)
    found = known.entropy(source, S)
    assert found.how == ("enumeration" if name == "hidden" else "closed form")
    np.testing.assert_allclose(found.nats, -(p * np.log(p)).sum(), rtol=1e-6)
    first = by_paths(source, np.arange(V)[:, None])
    np.testing.assert_allclose(known.entropy(source, 1).nats, -(first * np.log(first)).sum(), rtol=1e-6)
    if name != "hidden":
        steps = known.entropy(source, 1000).nats - known.entropy(source, 999).nats
        np.testing.assert_allclose(steps, known.entropy_rate(source), rtol=1e-3)
        return
    monkeypatch.setattr("gidd_jax.known.information.ENUMERABLE", 1)
    drawn = known.entropy(source, S, jax.random.key(6))
    assert drawn.how == "monte carlo"
    assert abs(drawn.nats - found.nats) < 4.5 * drawn.standard_error < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_posterior_is_the_share_of_the_sequences_that_fit(named, name):
    source = named[name]
    z = np.array([[0, MASK, 2, MASK], [MASK, MASK, 1, MASK], [MASK] * 4, [0, 1, 2, 0]])
    found = known.posterior(source, z, MASK)
    every = by_paths(source, EVERY_X)
    for row, probs in zip(z, found, strict=True):
        fits = ((EVERY_X == row) | (row == MASK)).all(1)
        np.testing.assert_allclose(probs, marginals(every * fits), atol=1e-6)


elbo = jax.jit(lambda schedule, logits, x, z, t: losses.gidd_terms(schedule, logits, x, z, t).elbo.sum(-1))
SCHEDULES = {
    "hybrid": schedules.hybrid(MASK + 1, MASK, 0.3),
    "masked": schedules.linear(MASK + 1, MASK, 0.0),
    "uniform": schedules.linear(MASK + 1, MASK, 1.0),
    "log-SNR": schedules.log_snr(MASK + 1, MASK, 1.0, 0.5),
}


@pytest.mark.parametrize(
    "name, noise", [slow("chain", "log-SNR"), slow("second order", "hybrid"), ("hidden", "hybrid")]
)
def test_denoisers_are_bayes_rule_over_every_sequence(named, name, noise):
    """Masked, kept, wrong and padding tokens; a time for each cell and one for all."""
    source, schedule = named[name], SCHEDULES[noise]
    t = TIMES if noise == "hybrid" else np.log(1 / TIMES - 1)
    z = np.array([[MASK, 1, 0, 3], [2, 2, MASK, 0]])
    every = by_paths(source, EVERY_X)
    guess, apart = known.denoise(source, schedule, z, t), known.cavity(source, schedule, z, t)
    total = known.log_marginal(source, schedule, z, t)
    assert guess.shape == apart.shape == (2, S, MASK + 1)
    assert (guess[..., V:] == 0).all() and (apart[..., V:] == 0).all()
    for row in range(2):
        cells = np.stack([noise_table(schedule, t[row, i])[z[row, i], EVERY_X[:, i]] for i in range(S)], 1)
        weights = every * cells.prod(1)
        np.testing.assert_allclose(np.exp(total[row]), weights.sum(), rtol=1e-5)
        np.testing.assert_allclose(guess[row, :, :V], marginals(weights), atol=1e-6)
        for i in range(S):
            others = every * np.delete(cells, i, axis=1).prod(1)
            np.testing.assert_allclose(apart[row, i, :V], marginals(others)[i], atol=1e-6)
    np.testing.assert_allclose(guess[:, 0][z[:, 0] == MASK], apart[:, 0][z[:, 0] == MASK], atol=1e-6)


def every_likelihood(schedule, t):
    """q_t(z|x) for every z and x at one time, [z, x], float64."""
    table = noise_table(schedule, t)
    return table[EVERY_Z[:, None], EVERY_X[None]].prod(2)


def information(source, schedule, t):
    """I(x; z_t) in nats, summed over every x and z."""
    x, seen = by_paths(source, EVERY_X), every_likelihood(schedule, t)
    marginal = np.broadcast_to((seen @ x)[:, None], seen.shape)
    possible = seen > 0
    ratio = np.divide(seen, marginal, out=np.ones_like(seen), where=possible)
    return (seen * x * np.log(ratio)).sum()


@pytest.mark.parametrize("noise", ["hybrid", *map(slow, ("masked", "uniform", "log-SNR"))])
def test_the_elbo_of_the_cavity_is_the_rate_at_which_information_is_lost(named, noise):
    """E[sum elbo] over every x and z at one t = |dI(x; z_t)/dt| / p(t), float64; and ``denoise`` is worse."""
    with jax.enable_x64(True):
        source, schedule = widened(named["hidden"]), jax.tree.map(np.float64, SCHEDULES[noise])
        x, z = np.tile(EVERY_X, (len(EVERY_Z), 1)), np.repeat(EVERY_Z, len(EVERY_X), 0)
        for t in (0.2, 0.7) if noise != "log-SNR" else (-0.5, 1.5):
            weight = (every_likelihood(schedule, t) * by_paths(source, EVERY_X)).ravel()
            mean = []
            for best in known.cavity, known.denoise:
                logits = jnp.repeat(jnp.log(best(source, schedule, EVERY_Z, t)), len(EVERY_X), 0)
                nats = np.array(elbo(schedule, logits, x, z, t))
                mean.append(weight[weight > 0] @ nats[weight > 0])
            h = 1e-5
            slope = abs(information(source, schedule, t + h) - information(source, schedule, t - h)) / (2 * h)
            density = 1.0 if noise != "log-SNR" else float(schedule.snr_density(t))
            np.testing.assert_allclose(mean[0], slope / density, rtol=1e-6)
            assert mean[1] > 1.02 * mean[0] or noise == "masked"


@pytest.mark.parametrize("noise", ["hybrid", slow("log-SNR")])
def test_the_floor_is_the_information_between_the_ends(named, noise):
    source, schedule = named["chain"], SCHEDULES[noise]
    floor = known.elbo_floor(jax.random.key(7), source, schedule, S)
    clean, noisy = schedule.time_of(0.0), schedule.time_of(1.0)
    width = float(schedule.unit_time(noisy) - schedule.unit_time(clean))
    exact = (information(source, schedule, clean) - information(source, schedule, noisy)) / width
    assert abs(floor.nats - exact) < 4.5 * floor.standard_error < 0.05
    # What the cleanest z does not tell is left out of the bound; the rest is the whole entropy.
    assert 0.95 < floor.nats / known.entropy(source, S).nats < 1


@pytest.mark.slow
@pytest.mark.parametrize("noise", ["hybrid", "log-SNR"])
def test_the_best_denoiser_reaches_the_floor(named, noise):
    """Corruption and the float32 loss, with low-discrepancy times: within 4.5 standard errors of the floor."""
    source, schedule, count = named["hidden"], SCHEDULES[noise], 100_000
    floor = known.elbo_floor(jax.random.key(7), source, schedule, S)
    x_key, t_key, z_key = jax.random.split(jax.random.key(8), 3)
    x, t = known.sample(x_key, source, count, S), corruption.sample_times(t_key, schedule, (count,))
    z, _ = corruption.corrupt(z_key, schedule, x, t)
    nats = np.float64(elbo(schedule, jnp.log(known.cavity(source, schedule, z, t)), x, z, t))
    assert abs(nats.mean() - floor.nats) < 4.5 * np.hypot(nats.std() / np.sqrt(count), floor.standard_error) < 0.5


def test_what_cannot_be_is_said_in_one_line(named):
    source = named["hidden"]
    with pytest.raises(InputError, match="no closed form"):
        known.entropy_rate(source)
    with pytest.raises(InputError, match=r"3\^40 sequences are too many to sum over: give a key"):
        known.entropy(source, 40)
    with pytest.raises(InputError, match="mask_id 2 of 4 tokens: the 3 tokens of the source come first"):
        known.denoise(source, schedules.hybrid(4, 2), jnp.zeros((1, 2), int), 0.5)
    with pytest.raises(InputError, match="an order of 1 or more"):
        known.markov(jax.random.key(9), 3, order=0)
    with pytest.raises(InputError, match="2 tokens or more"):
        known.hmm(jax.random.key(10), 3, 1)
