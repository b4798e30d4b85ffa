"""The fused GIDD terms in float64 and float32 against their definition, written densely in extended precision.

``Definition`` follows the papers' formulas one by one: one-hot q_t, softmax p_t, sums over the whole vocabulary. It
shares nothing with the package, whose form has neither a one-hot nor a log of a marginal.
"""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import losses, schedules

CELLS = 6
Wide = np.longdouble
SMALL, LARGE = (5, 8, 2), (50_259, 50_304, 0)
MORE = [(2, 2, 1), (3, 3, 0), (11, 11, 10), (257, 384, 256), (50_259, 50_259, 50_258)]

PROBABILITY = st.sampled_from([0.0, 1e-6, 0.1, 0.5, 0.9, 0.99]) | st.floats(1e-9, 0.999)
UNIT_TIME = st.sampled_from([1e-4, 0.5, 1 - 1e-4]) | st.floats(1e-4, 1 - 1e-4)
LOG_SNR = st.sampled_from([-9.0, 0.0, 9.0]) | st.floats(-9, 9)
FAMILIES = {
    "hybrid": (PROBABILITY, st.sampled_from([0.5, 1.0, 2.0]) | st.floats(0.1, 2), UNIT_TIME),
    "linear": (PROBABILITY | st.just(1.0), st.just(0.0), UNIT_TIME),
    "log_snr": (st.sampled_from([-1000.0, 0.0, 1000.0]) | st.floats(-4, 4), st.sampled_from([0.5, 1.0]), LOG_SNR),
}


class Definition:
    """Noise of one time: alpha, (beta pi) on the mask and on each other token, and the ELBO weight's rate of each."""

    def __init__(self, family, first, second, t, V):
        first, second, t = Wide(first), Wide(second), Wide(t)
        N = Wide(V - 1)
        if family == "hybrid":
            p = max(np.exp(Wide(-20)), first)
            log_b = max(second * np.log(Wide(2)) + np.log(p) - np.log1p(-p), Wide(-20))
            c = np.exp(log_b) * (t * (1 - t)) ** (second / 2)
            slope = second / 2 * (1 - 2 * t) / (t * (1 - t)) * c
            C = 1 + c
            self.alpha, self.noise = (1 - t) / C, np.array([t, c / N]) / C
            moved = np.array([1, slope / N]) / C - np.array([t, c / N]) * slope / C**2
            self.rate = moved + (1 / (1 - t) + slope / C) * self.noise
        elif family == "linear":
            self.alpha, share = 1 - t, np.array([1 - first, first / N])
            self.noise, self.rate = t * share, share + t * share / (1 - t)
        else:
            self.alpha, s = _sigmoid(t), _sigmoid(second * t + first)
            pi, moved = np.array([1 - s, s / N]), second * s * (1 - s) * np.array([-1, 1 / N])
            if abs(first) == 1000:
                pi, moved = np.array([1 - (first > 0), (first > 0) / N]), 0 * moved
            # (pi - pi') / (pi + e^l [z = x]) / p(l), brought to (beta pi) by the factor 1 - alpha.
            self.noise = (1 - self.alpha) * pi
            self.rate = (1 - self.alpha) * (pi - moved) / (self.alpha * (1 - self.alpha))

    def terms(self, logits, x, z, mask_id, V):
        """KL, IS, ELBO weight and, for each, the gradient of its sum by the logits."""
        cells, width = np.arange(CELLS), logits.shape[-1]
        f = Wide(logits).copy()
        f[:, mask_id] = -np.inf
        f = np.exp(f - f.max(-1, keepdims=True))
        f /= f.sum(-1, keepdims=True)
        noise = np.where(np.arange(width) < V, self.noise[1], Wide(0))
        noise[mask_id] = self.noise[0]
        p = self.alpha * f + noise
        q = np.tile(noise, (CELLS, 1))
        q[cells, x] += self.alpha
        seen = q > 0
        share = np.where(seen, q / np.where(seen, p, 1), 0)
        kl = np.where(seen, q * np.log(np.where(seen, share, 1)), 0).sum(-1)
        ratio = q[cells, z] / p[cells, z]
        itakura_saito = ratio - np.log(ratio) - 1
        weight = np.where(z == mask_id, self.rate[0], self.rate[1]) / q[cells, z]
        pull_kl = -self.alpha * share
        pull_is = np.zeros_like(p)
        pull_is[cells, z] = self.alpha * (1 - ratio) / p[cells, z]
        through_softmax = [f * (pull - (f * pull).sum(-1, keepdims=True)) for pull in (pull_kl, pull_is)]
        return (kl, itakura_saito, weight), through_softmax


def _sigmoid(l):
    return 1 / (1 + np.exp(-l))


@functools.cache
def program(family, V, mask_id):
    """Terms, and gradients of the summed KL and of the summed IS, as one compiled program for all numbers."""

    def both(first, second, t, logits, x, z):
        make = {
            "hybrid": lambda: schedules.hybrid(V, mask_id, first, second),
            "linear": lambda: schedules.linear(V, mask_id, first),
            "log_snr": lambda: schedules.log_snr(V, mask_id, second, first),
        }[family]
        f = lambda logits: losses.gidd_terms(make(), logits, x, z, t)  # noqa: E731
        terms, pull = jax.vjp(f, logits)
        zeros, ones = jax.tree.map(jnp.zeros_like, terms), jnp.ones_like(terms.kl)
        gradients = [pull(zeros._replace(**{name: ones}))[0][0] for name in ("kl", "itakura_saito")]
        return jax.tree.map(lambda a: a[0], terms), gradients

    return jax.jit(both)


def cells(rng, kind, V, mask_id, noise):
    """x and z [6] of every kind that is possible under the noise, or all of one ``kind``."""
    tokens = np.delete(np.arange(V), mask_id)
    x, other = rng.choice(tokens, CELLS), rng.choice(tokens, CELLS)
    possible = ["clean"] + ["mask"] * bool(noise[0] > 0) + ["noise"] * bool(noise[1] > 0)
    kinds = rng.choice(possible, CELLS) if kind not in possible else np.full(CELLS, kind)
    return x, np.where(kinds == "mask", mask_id, np.where(kinds == "clean", x, other))


def near(name, found, wanted, weight=1.0):
    """float64: to 1e-9 of each number, 1e-12 of the largest, or the weighted rounding of probabilities, 1e-15.

    float32: to 2e-5 of the largest, or 1e-6.
    """
    wanted = np.float64(wanted)
    largest = np.abs(wanted).max()
    if found.dtype == np.float64:
        floor = 1e-12 * largest + 1e-15 * np.float64(np.abs(weight)).max()
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=floor, err_msg=name)
    elif largest < 1e30:  # Beyond it float32 saturates, where the weight is 0.
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5 * largest + 1e-6, err_msg=name)


CASES = [
    ("hybrid", SMALL),
    ("hybrid", LARGE),
    ("log_snr", SMALL),
    *(pytest.param("hybrid", shape, marks=pytest.mark.slow) for shape in MORE),
    *(pytest.param("linear", shape, marks=pytest.mark.slow) for shape in [SMALL, *MORE[1:4]]),
    *(pytest.param("log_snr", shape, marks=pytest.mark.slow) for shape in [LARGE, *MORE[:4]]),
]


@pytest.mark.parametrize(("family", "shape"), CASES, ids=lambda v: "-".join(map(str, v)) if isinstance(v, tuple) else v)
def test_terms_and_gradients_are_their_definition(family, shape):
    V, width, mask_id = shape

    @hypothesis.settings(max_examples=12 if V > 1000 else 40, deadline=None, derandomize=True, database=None)
    @hypothesis.given(
        numbers=st.tuples(*FAMILIES[family]),
        kind=st.sampled_from(["mixed", "mask", "noise", "clean"]),
        scale=st.sampled_from([0.0, 0.3, 3.0, 20.0]),
        sure=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    )
    def check(numbers, kind, scale, sure, seed):
        rng, numbers = np.random.default_rng(seed), np.float32(numbers)
        definition = Definition(family, *numbers, V)
        x, z = cells(rng, kind, V, mask_id, definition.noise)
        logits = np.float32(scale * rng.normal(size=(CELLS, width)))
        if sure:  # Half of the cells are predicted all but for certain, rightly or wrongly.
            logits[np.arange(3), [x[0], x[1], z[2]]] += 40
        (kl, itakura_saito, weight), gradients = definition.terms(logits, x, z, mask_id, V)
        for real in (np.float64, np.float32):
            with jax.enable_x64(real is np.float64):
                args = (*real(numbers), real(logits)[None], x.astype(np.int32)[None], z.astype(np.int32)[None])
                found, pulls = program(family, V, mask_id)(*args)
            near("kl", found.kl, kl)
            near("itakura_saito", found.itakura_saito, itakura_saito)
            near("weight", found.elbo_weight, weight)
            near("elbo", found.elbo, np.clip(weight, 0, 1e6) * (kl + itakura_saito), weight)
            for name, pull, gradient in zip(("kl", "itakura_saito"), pulls, gradients, strict=True):
                near(f"gradient of {name}", pull, gradient)

    check()
