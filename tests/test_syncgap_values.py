"""What the synchronisation study measures, to the number: plain loops and numpy over a model of random weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.fft import dctn

from gidd_jax import diffusion, replica
from gidd_jax.models import dit_image, encoder
from gidd_jax.sampling import replicas
from gidd_jax.studies import syncgap, syncgap_evaluation, syncgap_model, syncgap_theory

# Three layers, as of two the next is the last; nine tokens, whose cosine modes fall into thirds without a tie.
SHAPE = dit_image.DitImageConfig(6, classes=3, layers=3, d_model=8, heads=2)
IMAGE, SIDE = (1, 6, 6), 3


def shaken(tree, seed):
    """A fresh model's gates and head are shut: random ones open them."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + 0.3 * jnp.asarray(rng.normal(size=leaf.shape), jnp.float32), tree)


@functools.cache
def model():
    return shaken(jax.jit(lambda: dit_image.init(jax.random.key(0), SHAPE))(), 1)


# ---------------------------------------------------------------- what pairs are made of, and looked at, by hand


@functools.partial(jax.jit, static_argnames="steps")
def parted(key, params, label, first, steps, eta, until, g_L, shared):
    """One row of protocol I."""
    row = replicas.Branches(jnp.asarray([until]), g_L[None], jnp.asarray([shared]), jnp.zeros(1))
    denoise = lambda x, t, g: dit_image.apply(params, SHAPE, x, t, label, g).eps  # noqa: E731
    return replicas.forked(key, denoise, first, replicas.path(str(steps)), row, eta)[0]


@jax.jit
def one_step(params, label, x, t, g_L):
    """The noise the model finds, and what each block reads and the last one leaves [L + 1,2,M,S,D]."""
    watch = lambda tokens, _: tokens  # noqa: E731
    guess, states = dit_image.watched(params, SHAPE, x, t, label, g_L[:, None], watch)
    return guess.eps, jnp.concatenate([dit_image.embedded(params, SHAPE, x)[None], states])


def followed(params, label, first, g_L, path):
    """Protocol II: images [S,2,M,C,Y,X], and differences before each block and after the last [S,L+1,M,S,D]."""
    x, images, apart = first, [], []
    for t, now, then in zip(*path, strict=True):
        eps, states = one_step(params, label, x, t, g_L)
        images.append(np.asarray(x))
        apart.append(np.asarray(states[:, 0] - states[:, 1], np.float64) / np.sqrt(2))
        x = diffusion.ddim_step(x, eps, jnp.zeros_like(x), now, then, 0.0)
    return np.stack(images), np.stack(apart)


def features(params, x):
    hidden = x.reshape(-1, 36)
    for name in ("up", "features"):
        hidden = np.maximum(hidden @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])[None], 0)
    return hidden


def cosines(a, b):
    return (a * b).sum(-1) / np.sqrt((a * a).sum(-1) * (b * b).sum(-1))


def cosine_energies(apart):
    """Of differences [S,L,M,9,D] the energy [S,L] in the lowest and in the highest third of the cosine modes."""
    modes = dctn(apart.reshape(*apart.shape[:3], SIDE, SIDE, -1), axes=(3, 4), norm="ortho")
    square = np.add.outer(np.arange(SIDE) ** 2, np.arange(SIDE) ** 2)
    return (np.square(modes[:, :, :, mask]).sum((2, 3, 4)) for mask in (square <= 1, square >= 5))


# ---------------------------------------------------------------- the evaluation


@functools.cache
def seen_by_the_study():
    """Parameters of both networks and 1030 images, of which the features of the last six are far from all others."""
    train = np.random.default_rng(2).normal(size=(1030, *IMAGE)).astype(np.float32)
    train[1024:] *= 50
    eyes = shaken(jax.jit(lambda: encoder.init(jax.random.key(0), encoder.EncoderConfig(36, 3)))(), 3)
    data = {"classes": np.zeros((3, 0), np.uint8), "train": train}
    return {"dit": model(), "encoder": eyes}, data


@pytest.mark.parametrize(("kind", "noise"), [("1", "shared"), ("", "independent")])
def test_the_protocols_measure_what_they_are_set_to(kind, noise):
    params, data = seen_by_the_study()
    sizes = dict(size=6, layers=3, d_model=8, heads=2, pairs=3, sample_steps=4, forks=3, pool=3)
    config, hyper = syncgap.Config(kind=kind, noise=noise, **sizes), syncgap.Hyper(g=0.7, sigma=0.5, eta=0.6)

    @jax.jit
    def protocols(params, hyper, data):
        return syncgap_evaluation.protocols(jax.random.key(7), params, hyper, config, data)

    found = jax.tree.map(np.asarray, protocols(params, hyper, data))
    start_key, noise_key = jax.random.split(jax.random.key(7))
    first = replicas.start(start_key, (3, *IMAGE), 0.5)
    label, couplings = int(kind or 3), {"": (0.7, noise == "shared"), "control_": (0.0, True)}
    centre = features(params["encoder"], data["train"][:1024]).mean(0, keepdims=True)
    for j, until in enumerate((0, 2, 4)):
        for arm, (g, shared) in couplings.items():
            key = jax.random.clone(noise_key)
            a, b = np.asarray(parted(key, params["dit"], label, first, 4, 0.6, until, jnp.full(3, g), shared))
            pairs = {arm: (a, b)} | ({"stranger_": (a, b[[2, 0, 1]])} if not arm else {})
            for which, two in pairs.items():
                cosine = cosines(*(features(params["encoder"], x) - centre for x in two))
                wanted = cosine, *replica.scale_discrepancy(*two, 3)
                for name, value in zip(("feature_cosine", "coarse", "fine"), wanted, strict=True):
                    told = found[f"{which}{name}/fork"][j]
                    assert told == pytest.approx(np.median(value), rel=1e-3, abs=1e-4), (which, name, until)
    apart = followed(params["dit"], label, first, jnp.full(3, 0.7), replicas.path("4"))[1]
    coarse, fine = cosine_energies(apart[:, 1:])
    np.testing.assert_allclose(found["cosine_gap/layer"], (fine[-1] / fine[0]) / (coarse[-1] / coarse[0]), rtol=1e-3)


def test_strangers_are_replicas_of_different_seeds():
    images = jnp.arange(5.0)[None, None] + 10 * jnp.arange(2.0)[None, :, None] + 100 * jnp.arange(3.0)[:, None, None]
    a, b = (np.asarray(x)[..., 0, 0, 0] for x in syncgap_model.strangers(images[..., None, None, None]))
    assert (a // 10 % 10 == 0).all() and (b // 10 % 10 == 1).all() and (a // 100 == b // 100).all()
    assert (a % 10 != b % 10).all()
    assert (np.sort(a % 10) == np.arange(5)).all() and (np.sort(b % 10) == np.arange(5)).all()


# ---------------------------------------------------------------- the theory


def slopes(block, h, condition, r):
    """r^T dF/dx r of what a block [one layer's parameters] makes of h [S,D], by what moves; in float64."""
    own = jax.tree.map(lambda x: np.asarray(x, np.float64), block)
    linear = lambda name, x: x @ own[name]["kernel"] + own[name]["bias"][None]  # noqa: E731
    shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = np.split(linear("modulation", condition[None]), 6, axis=-1)

    def standardised(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)

    def attention(of_q, of_k, of_v):
        read = [linear("qkv", standardised(x) * (1 + scale_1) + shift_1) for x in (of_q, of_k, of_v)]
        q, k, v = (x.reshape(9, 3, 2, 4)[:, i] for i, x in enumerate(read))
        weights = np.exp(np.einsum("shd,khd->hsk", q, k) / 2)
        mixed = np.einsum("hsk,khd->shd", weights / weights.sum(-1, keepdims=True), v)
        return gate_1 * linear("out", mixed.reshape(9, 8))

    def feed(x):
        up = linear("up", standardised(x) * (1 + scale_2) + shift_2)
        return gate_2 * linear("down", up / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3))))

    def along(f, step=1e-5):
        return ((f(step * r) - f(-step * r)) * r).sum() / (2 * step)

    middle = h + attention(h, h, h)
    return (
        along(lambda d: attention(h, h, h + d)),
        along(lambda d: attention(h, h + d, h)),
        along(lambda d: attention(h + d, h, h)),
        along(lambda d: feed(middle + d)),
    )


def unit_modes(count, seed=4):
    """Other orthonormal directions for each layer [L, K, S, D]."""
    drawn = np.random.default_rng(seed).normal(size=(3, 72, count))
    return jnp.asarray(np.moveaxis(np.linalg.qr(drawn)[0], 1, 2).reshape(3, count, 9, 8), jnp.float32)


def test_values_alone_are_routed_and_keys_and_queries_change_the_weights():
    """(25) by differences of each channel: chi is the values', xi pi is rho times the keys' and the queries'."""
    g, modes, x = 0.4, unit_modes(2), jax.random.normal(jax.random.key(5), (2, *IMAGE))
    found = jax.jit(lambda params: syncgap_theory.block_terms(params, SHAPE, x, 500, 1, g, modes))(model())
    _, states = one_step(model(), 1, jnp.stack([x, x]), 500, jnp.zeros(3))
    condition = np.asarray(dit_image.conditioned(model(), SHAPE, 500, 1, 2), np.float64)
    wanted = np.zeros((4, 3, 2))
    for l, k, m in np.ndindex(3, 2, 2):
        block = jax.tree.map(lambda leaf, l=l: leaf[l], model()["blocks"])
        h, r = (np.asarray(y, np.float64) for y in (states[l, 0, m], modes[l, k]))
        wanted[:, l, k] += np.array(slopes(block, h, condition[m], r)) / 2
    values, keys, queries, feed = wanted
    assert min(np.abs(keys).max(), np.abs(queries).max(), np.abs(values - keys).max()) > 0.01
    np.testing.assert_allclose(found.chi, values, atol=1e-4)
    np.testing.assert_allclose(found.pi, (1 - g) * keys + (1 + g) * queries, atol=1e-4)
    np.testing.assert_allclose(found.feed, feed, atol=1e-4)
