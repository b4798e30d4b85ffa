"""The bottleneck against a second implementation in numpy, and what each traced switch says it does."""

import dataclasses
import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax.errors import InputError
from gidd_jax.models import bottleneck

V, S, D, C, H = 11, 7, 8, 5, 2
CONFIG = bottleneck.BottleneckConfig(V, S, d_model=D, concepts=C, encoder_layers=2, heads=H, hidden=6)
IDS = np.random.default_rng(0).integers(0, V, (3, S))
KEEP = np.arange(S)[None] < np.array([7, 4, 1])[:, None]
PLACE = np.maximum(np.arange(S)[None] - np.array([0, 2, 3])[:, None], 0)
REACH = np.arange(S)[None] >= np.array([0, 2, 3])[:, None]
T = np.float32([0.1, 0.6, 1.0])


@functools.cache
def weights(config=CONFIG):
    params = bottleneck.init(jax.random.key(0), config, 0.3)
    # Modulations and biases start at 0: move all, so that nothing is told by silence.
    return jax.tree.map(lambda a: np.asarray(a + 0.2 * jnp.sin(jnp.arange(a.size)).reshape(a.shape)), params)


@functools.partial(jax.jit, static_argnums=1)
def encoded(params, config, switches, ids=IDS, keep=KEEP):
    return bottleneck.encode(params, config, switches, jnp.asarray(ids), jnp.asarray(keep))


@jax.jit
def decoded(params, concepts, switches, z=IDS, embedded=None):
    z, place, reach, t = map(jnp.asarray, (z, PLACE, REACH, T))
    return bottleneck.decode(params, CONFIG, switches, concepts, z, place, reach, t, embedded)


def norm(x, p):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * p["scale"] + p.get("bias", 0)


def linear(x, p):
    return x @ p["kernel"] + p.get("bias", 0)


def attended(x, y, mask, p):
    """One query and one head at a time."""
    q, k, v = (linear(z, p[name]) for z, name in ((x, "query"), (y, "key"), (y, "value")))
    out = np.zeros_like(q)
    for b in range(len(q)):
        for h in range(H):
            cut = slice(h * D // H, (h + 1) * D // H)
            for i in range(q.shape[1]):
                scores = k[b, :, cut] @ q[b, i, cut] / math.sqrt(D / H)
                e = np.where(mask[b, i], np.exp(scores - scores.max()), 0)
                out[b, i, cut] = e / max(e.sum(), 1e-9) @ v[b, :, cut]
    return linear(out, p["out"])


def gated(x, p):
    a, g = np.split(linear(x, p["in"]), 2, -1)
    erf = np.vectorize(math.erf)
    return linear(a * (1 + erf(a / math.sqrt(2))) / 2 * g, p["out"])


def layer(tree, i):
    return jax.tree.map(lambda a: a[i], tree)


def encoder(params, ids, keep, depth=2, bixt=0.0):
    p = params["encoder"]
    x = p["token"][ids] + p["place"][None]
    c = np.broadcast_to(p["concept"], (len(ids), C, D))
    for i in range(depth):
        own, everyone = layer(p["layers"], i), np.ones((len(ids), max(S, C), C), bool)
        c = c + attended(norm(c, own["norm_read"]), x, np.broadcast_to(keep[:, None], (len(ids), C, S)), own["read"])
        x = x + bixt * attended(norm(x, own["norm_tell"]), c, everyone, own["tell"])
        normal = norm(c, own["norm_talk"])
        c = c + attended(normal, normal, everyone, own["talk"])
        c = c + gated(norm(c, own["norm_feed"]), own["feed"])
    return norm(c, p["norm"])


def decoder(params, concepts, z, self_attention, causal, gate):
    p = params["decoder"]
    x = p["token"][z] + p["place"][PLACE]
    angle = T[:, None] * np.exp(-math.log(10_000) * np.arange(128) / 128)
    wave = linear(np.concatenate([np.cos(angle), np.sin(angle)], 1), p["time_in"])
    time = linear(wave / (1 + np.exp(-wave)), p["time_out"])
    mask = np.broadcast_to(REACH[:, None], (3, S, S)) & ((not causal) | np.tri(S, dtype=bool)[None])
    for i in range(2):
        own = layer(p["layers"], i)
        m = np.split(linear(time, own["modulation"])[:, None], 9, -1)
        normal = norm(x, own["norm_talk"]) * (1 + m[1]) + m[0]
        x = x + self_attention * (m[2] + gate) * attended(normal, normal, mask, own["talk"])
        normal = norm(x, own["norm_read"]) * (1 + m[4]) + m[3]
        x = x + (m[5] + gate) * attended(normal, concepts, np.ones((3, S, C), bool), own["read"])
        normal = norm(x, own["norm_feed"]) * (1 + m[7]) + m[6]
        x = x + (m[8] + gate) * gated(normal, own["feed"])
    return linear(norm(x, p["norm"]), p["head"])


@pytest.mark.parametrize("bixt", [0.0, 1.0])
def test_encoder_is_the_one_written_in_numpy(bixt):
    found, states = encoded(weights(), CONFIG, bottleneck.Switches(bixt=bixt))
    np.testing.assert_allclose(found, encoder(weights(), IDS, KEEP, bixt=bixt), atol=2e-4)
    assert states.shape == (2, 3, C, D)


@pytest.mark.parametrize(("self_attention", "causal"), [(0.0, False), (0.7, False), (1.0, True)])
def test_decoder_is_the_one_written_in_numpy(self_attention, causal):
    z = encoder(weights(), IDS, KEEP)
    switches = bottleneck.Switches(self_attention=self_attention, causal=float(causal), gate=0.5)
    found = np.asarray(decoded(weights(), z, switches))
    wanted = decoder(weights(), z, IDS, self_attention, causal, 0.5)
    # A cell before the first that is decoded, which may look at nothing if causal, is never asked for.
    np.testing.assert_allclose(found[REACH], wanted[REACH], atol=5e-4)


def test_a_layer_out_of_use_is_no_layer():
    one = bottleneck.BottleneckConfig(V, S, d_model=D, concepts=C, encoder_layers=1, heads=H, hidden=6)
    cut = dict(weights(), encoder=dict(weights()["encoder"], layers=jax.tree.map(lambda a: a[:1], layers())))
    np.testing.assert_allclose(
        encoded(weights(), CONFIG, bottleneck.Switches(depth=1.0))[0],
        encoded(cut, one, bottleneck.Switches())[0],
        atol=1e-6,
    )


def layers():
    return weights()["encoder"]["layers"]


def test_a_concept_out_of_use_is_read_by_nobody():
    few = bottleneck.BottleneckConfig(V, S, d_model=D, concepts=3, encoder_layers=2, heads=H, hidden=6)
    cut = dict(weights(), encoder=dict(weights()["encoder"], concept=weights()["encoder"]["concept"][:3]))
    switches = bottleneck.Switches(concepts=3.0, bixt=1.0)
    z = encoded(weights(), CONFIG, switches)[0]
    np.testing.assert_allclose(z[:, :3], encoded(cut, few, bottleneck.Switches(bixt=1.0))[0], atol=1e-5)
    moved = z.at[:, 3:].add(7.0)
    np.testing.assert_array_equal(decoded(weights(), z, switches), decoded(weights(), moved, switches))
    assert (
        np.abs(
            np.asarray(decoded(weights(), z, bottleneck.Switches())) - decoded(weights(), moved, bottleneck.Switches())
        ).max()
        > 1e-3
    )


def gradient_by_cell(switches, cell):
    """|d logit / d embedding_j| of the answer at one cell of the first sequence."""
    z = encoded(weights(), CONFIG, switches)[0]

    def told(embedded):
        return decoded(weights(), z, switches, IDS, embedded)[0, cell, 2]

    return np.linalg.norm(jax.grad(told)(jnp.zeros((3, S, D)))[0], axis=-1)


def test_positions_are_told_nothing_of_one_another_unless_they_attend():
    alone = gradient_by_cell(bottleneck.Switches(), 3)
    assert alone[3] > 1e-3 and not np.delete(alone, 3).any()
    together = gradient_by_cell(bottleneck.Switches(self_attention=1.0), 3)
    assert (together > 1e-4).all()
    causal = gradient_by_cell(bottleneck.Switches(self_attention=1.0, causal=1.0), 3)
    assert (causal[:4] > 1e-4).all() and not causal[4:].any()


def test_what_the_decoder_does_not_see_does_not_matter():
    z = encoded(weights(), CONFIG, bottleneck.Switches())[0]
    other = (IDS + 1) % V
    for switches in (bottleneck.Switches(tokens=0.0), bottleneck.Switches(tokens=0.0, self_attention=1.0)):
        np.testing.assert_array_equal(decoded(weights(), z, switches), decoded(weights(), z, switches, other))
    closed = bottleneck.Switches(channel=0.0)
    np.testing.assert_array_equal(decoded(weights(), z, closed), decoded(weights(), -z, closed))


def test_gates_at_zero_let_no_gradient_to_the_concepts():
    params = bottleneck.init(jax.random.key(1), CONFIG)
    z = encoded(params, CONFIG, bottleneck.Switches())[0]

    def norm_of(gate):
        told = lambda z: (decoded(params, z, bottleneck.Switches(gate=gate)) ** 2).sum()  # noqa: E731
        return float(jnp.abs(jax.grad(told)(z)).max())

    assert norm_of(0.0) == 0 and norm_of(0.1) > 0


def test_padding_is_not_read():
    other = np.where(KEEP, IDS, (IDS + 3) % V)
    switches = bottleneck.Switches(bixt=1.0)
    np.testing.assert_array_equal(
        encoded(weights(), CONFIG, switches)[0], encoded(weights(), CONFIG, switches, other)[0]
    )


DROPPED = dataclasses.replace(CONFIG, dropout=0.25)
EVERYTHING = bottleneck.Switches(self_attention=1.0)


@functools.partial(jax.jit, static_argnums=0)
def both(config, params, key, switches):
    """Concepts and logits, with dropout where there is a key."""
    keys = (None, None) if key is None else jax.random.split(key)
    z, _ = bottleneck.encode(params, config, switches, jnp.asarray(IDS), jnp.asarray(KEEP), keys[0])
    shown = map(jnp.asarray, (IDS, PLACE, REACH, T))
    return z, bottleneck.decode(params, config, switches, z, *shown, dropout_key=keys[1])


def test_without_a_key_or_a_rate_nothing_is_dropped():
    plain = both(CONFIG, weights(), None, EVERYTHING)
    for config, key in ((DROPPED, None), (CONFIG, jax.random.key(0))):
        jax.tree.map(np.testing.assert_array_equal, plain, both(config, weights(), key, EVERYTHING))
    assert bottleneck.shapes(DROPPED) == bottleneck.shapes(CONFIG)


def test_what_is_dropped_hangs_on_the_key_alone():
    one, again, other = (both(DROPPED, weights(), jax.random.key(seed), EVERYTHING) for seed in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one, again)
    plain = both(CONFIG, weights(), None, EVERYTHING)
    for dropped, else_, kept in zip(one, other, plain, strict=True):
        assert np.isfinite(dropped).all()
        assert not np.array_equal(dropped, else_) and not np.array_equal(dropped, kept)


class Both(nn.Module):
    """An attention and a feed-forward layer with dropout, on what they are given."""

    rate: float

    @nn.compact
    def __call__(self, x, y, mask):
        attended = bottleneck.Attend(H, jnp.dtype("float32"), self.rate, name="attend")(x, y, mask)
        return attended, bottleneck.Gated(6, jnp.dtype("float32"), self.rate, name="feed")(x)


def test_dropout_keeps_the_mean_and_its_share_of_single_weights():
    """Both are linear in what is dropped, so the mean over keys is the layer itself: 5 standard errors, alpha 1e-6."""
    x, y = jax.random.normal(jax.random.key(0), (2, 1, 3, D))
    mask = jnp.array([[[[True, True, False]]]])
    shapes = jax.eval_shape(Both(0.0).init, jax.random.key(0), x, y, mask)["params"]
    params = jax.tree.map(lambda s: jnp.sin(1.7 * jnp.arange(s.size, dtype=s.dtype)).reshape(s.shape), shapes)
    whole = Both(0.0).apply({"params": params}, x, y, mask)
    draw = lambda key: Both(0.25).apply({"params": params}, x, y, mask, rngs={"dropout": key})  # noqa: E731
    found = jax.jit(lambda keys: jax.lax.map(draw, keys))(jax.random.split(jax.random.key(1), 4000))
    for draws, wanted in zip(found, whole, strict=True):
        error = np.abs(draws.mean(0) - wanted) / (draws.std(0) / 4000**0.5)
        assert error.max() < 5 and draws.std(0).min() > 0
    # Each query of a head has two weights that may fall, so both do in 1 of 16: the head's part is exactly 0 then.
    identity = params["attend"] | {"out": {"kernel": jnp.eye(D), "bias": jnp.zeros(D)}}
    draw = lambda key: Both(0.25).apply(  # noqa: E731
        {"params": params | {"attend": identity}}, x, y, mask, rngs={"dropout": key}
    )
    heads = jax.jit(lambda keys: jax.lax.map(draw, keys))(jax.random.split(jax.random.key(2), 500))[0]
    gone = (heads.reshape(500, 3, H, D // H) == 0).all(-1)
    assert abs(gone.mean() - 1 / 16) < 5 * (15 / 256 / gone.size) ** 0.5


def test_positions_of_the_concepts_are_added_before_the_first_layer():
    slot = 0.3 * np.cos(np.arange(C * D)).reshape(C, D).astype(np.float32)
    learned = dict(weights(), encoder=weights()["encoder"] | {"slot": slot})
    wave = np.array([[f(p / 10_000 ** (2 * i / D)) for i in range(D // 2) for f in (np.sin, np.cos)] for p in range(C)])
    for kind, params, added in (("learned", learned, slot), ("sinusoidal", weights(), wave)):
        config = dataclasses.replace(CONFIG, slot_positions=kind)
        encoder_ = params["encoder"]
        moved = dict(weights(), encoder=weights()["encoder"] | {"concept": encoder_["concept"] + np.float32(added)})
        found = encoded(params, config, bottleneck.Switches())[0]
        np.testing.assert_allclose(found, encoded(moved, CONFIG, bottleneck.Switches())[0], atol=1e-5)
        more = C * D if kind == "learned" else 0
        assert bottleneck.parameter_count(config) == bottleneck.parameter_count(CONFIG) + more


def test_features_are_what_the_logits_are_read_from():
    z = encoded(weights(), CONFIG, bottleneck.Switches())[0]
    shown = tuple(map(jnp.asarray, (IDS, PLACE, REACH, T)))
    hidden = jax.jit(lambda p: bottleneck.features(p, CONFIG, bottleneck.Switches(gate=0.5), z, *shown))(weights())
    assert hidden.shape == (3, S, D)
    told = decoded(weights(), z, bottleneck.Switches(gate=0.5))
    np.testing.assert_allclose(linear(np.asarray(hidden), weights()["decoder"]["head"]), told, atol=1e-4)


def test_initial_widths_and_the_number_of_parameters():
    config = bottleneck.BottleneckConfig(1000, 64, **bottleneck.PRESETS["H512L2C128D2"])
    assert config.name == "H512L2C128D2"
    h, f = 512, 1024
    attention, feed = 4 * (h * h + h), 2 * h * f + 2 * f + f * h + h
    per_layer = 3 * attention + feed + 4 * 2 * h
    encoder_ = 1000 * h + 64 * h + 128 * h + 2 * per_layer + 2 * h
    per_layer = 2 * attention + feed + 3 * h + 9 * h * h + 9 * h
    time = 256 * 2 * h + 2 * h + 2 * h * h + h
    decoder_ = 1000 * h + 64 * h + 2 * per_layer + time + 2 * h + 1000 * h
    assert bottleneck.parameter_count(config) == encoder_ + decoder_
    params = bottleneck.init(jax.random.key(0), config, 0.1)
    widths = {name: float(jnp.std(params["encoder"][name])) for name in ("token", "place", "concept")}
    assert widths == pytest.approx({"token": 0.1, "place": 0.1, "concept": 0.2}, rel=0.02)
    assert float(jnp.std(params["encoder"]["layers"]["feed"]["in"]["kernel"])) == pytest.approx(0.1, rel=0.01)
    xavier = math.sqrt(2 / (4 * h))
    assert float(jnp.std(params["encoder"]["layers"]["read"]["query"]["kernel"])) == pytest.approx(xavier, rel=0.01)


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="d_model 10 must be a multiple of heads 4"):
        bottleneck.BottleneckConfig(V, S, d_model=10, heads=4)
    with pytest.raises(InputError, match="concepts 0: sizes start at 1"):
        bottleneck.BottleneckConfig(V, S, concepts=0)
    with pytest.raises(InputError, match=r"dropout 1.0 must lie in \[0, 1\)"):
        bottleneck.BottleneckConfig(V, S, d_model=8, heads=2, dropout=1.0)
    with pytest.raises(InputError, match="8 tokens are more than the model's length 7"):
        bottleneck.encode(weights(), CONFIG, bottleneck.Switches(), jnp.zeros((1, 8), int), jnp.ones((1, 8), bool))
