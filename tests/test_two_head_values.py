"""Every path of the two-head model at once, against one written in numpy, float64, head by head and tower by tower."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax.models.two_head import Couplings
from tests.test_two_head import batch, params_of, run, tiny

CONFIG = tiny(layers=2, gated=True, mask_token=True, time=True, iterations=3)
DIALS = Couplings(attention=0.6, gate=0.7, gate_hard=0.3, sees_given=0.8)
# How a board's place in the batch is read by the other tower, and how much of what stands there.
READ = {"normal": (0, 1.0), "zero": (0, 0.0), "shuffle": (1, 1.0)}


def softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def dense(x, layer):
    return x @ layer["kernel"] + layer["bias"]


def normed(x, layer):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * layer["scale"] + layer["bias"]


def attention(towers, own, layers, cross):
    """(own + g other) / (1 + g), g times the keys and values of the other tower, at its own queries."""
    board, much = READ[cross]
    q, k, v = np.split(np.stack([dense(x, layer["qkv"]) for x, layer in zip(towers, layers, strict=True)]), 3, axis=-1)
    width, parts = q[own].shape[-1] // CONFIG.heads, []
    for head in range(CONFIG.heads):
        at = slice(head * width, (head + 1) * width)

        def read(keys, values, at=at):
            return softmax(q[own][..., at] @ np.swapaxes(keys[..., at], 1, 2) / np.sqrt(width)) @ values[..., at]

        other = (np.roll(each[1 - own], board, axis=0) for each in (k, v))
        parts.append((read(k[own], v[own]) + DIALS.attention * much * read(*other)) / (1 + DIALS.attention))
    return dense(np.concatenate(parts, -1), layers[own]["out"])


def stack(tree, towers, cross):
    """-> features of both towers, jump logits of the second, holding logits of the first."""
    for i in range(CONFIG.layers):
        blocks = [of[f"blocks_{i}"] for of in tree]
        before = [normed(x, block["norm_attention"]) for x, block in zip(towers, blocks, strict=True)]
        layers = [block["attention"] for block in blocks]
        towers = [x + attention(before, own, layers, cross) for own, x in enumerate(towers)]
        hidden = [
            np.maximum(dense(normed(x, block["norm_feed"]), block["feed"]["up"]), 0)
            for x, block in zip(towers, blocks, strict=True)
        ]
        towers = [x + dense(h, of["feed"]["out"]) for x, h, of in zip(towers, hidden, blocks, strict=True)]
    towers = [normed(x, of["norm"]) for x, of in zip(towers, tree, strict=True)]
    return towers, dense(towers[1], tree[1]["jump"]), dense(towers[0], tree[0]["holding"])[..., 0]


def iterated(tree, embedded, cross):
    """The stack again on what it gave, the jump's belief fed back to its own tower alone."""
    towers, jump, holding = stack(tree, embedded, cross)
    found = [(jump, holding)]
    for _ in range(CONFIG.iterations - 1):
        fed = [0.0, dense(softmax(jump), tree[1]["feedback"])]
        again = [e + h + f for e, h, f in zip(embedded, towers, fed, strict=True)]
        towers, jump, holding = stack(tree, again, cross)
        found.append((jump, holding))
    return towers, *map(np.stack, zip(*found, strict=True))


def model(tree, z, given, t, cross, truth=None, share=0.0):
    """-> jump [I,B,S,V], holding [I,B,S], features [T,B,S,D]."""
    # A part of one row belongs to one tower, whichever is asked.
    of_tower = lambda i: jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[min(i, len(leaf) - 1)], tree)  # noqa: E731
    tree = [of_tower(0), of_tower(1)]
    half = CONFIG.d_model // 2
    angle = 1000 * t[:, None] / 10_000 ** (np.arange(half) / half)
    wave = np.concatenate([np.sin(angle), np.cos(angle)], axis=1)[:, None]
    context, tokens = [], []
    for of in tree:
        time = dense(np.maximum(dense(wave, of["time_in"]), 0), of["time_out"])
        flag = DIALS.sees_given * of["given_flag"]["embedding"][given.astype(int)]
        context.append(of["position"]["embedding"] + flag + time)
        tokens.append(of["token"]["embedding"][z])
    first, _, holding = iterated(tree, [x + c for x, c in zip(tokens, context, strict=True)], cross)
    p = 1 / (1 + np.exp(-holding[-1]))
    p = (1 - DIALS.gate_hard) * p + DIALS.gate_hard * (p > 0.5)
    p = p if truth is None else (1 - share) * p + share * truth
    board, much = READ[cross]
    p = DIALS.gate * much * np.where(given, 0, np.roll(p, board, axis=0))[..., None]
    masked = (1 - p) * tokens[1] + p * tree[1]["token"]["embedding"][CONFIG.mask_id]
    second, jump, _ = iterated(tree, [tokens[0] + context[0], masked + context[1]], cross)
    return jump, holding, np.stack([first[0], second[1]])


@pytest.mark.parametrize("cross", READ)
def test_all_paths_at_once_equal_numpy(cross):
    tree, inputs = params_of(CONFIG), batch()
    found = run(tree, CONFIG, *inputs, DIALS, cross=cross)
    for ours, expected in zip(found, model(tree, *map(np.asarray, inputs), cross), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_true_labels_are_mixed_into_the_gate():
    tree, inputs = params_of(CONFIG), batch()
    truth = np.random.default_rng(1).random(inputs[0].shape) < 0.5
    found = run(tree, CONFIG, *inputs, DIALS._replace(gate_truth=0.4), truth=jnp.asarray(truth))
    expected = model(tree, *map(np.asarray, inputs), "normal", truth, 0.4)
    np.testing.assert_allclose(found.jump, expected[0], atol=1e-4)
    assert np.abs(found.jump - run(tree, CONFIG, *inputs, DIALS).jump).max() > 1e-2


def test_each_head_has_a_gradient_dial_of_its_own():
    config, inputs = tiny(trunk="shared"), batch()
    tree = params_of(config)

    @jax.jit
    def of_trunk(dials):
        def loss(tree, head):
            return jnp.sin(run(tree, config, *inputs, dials)[head]).sum()

        return [jax.grad(loss)(tree, head)["position"]["embedding"] for head in (0, 1)]

    whole, part = of_trunk(Couplings()), of_trunk(Couplings(gradient=0.5, gradient_jump=0.25))
    for one, other, share in zip(whole, part, (0.25, 0.5), strict=True):  # jump, holding
        np.testing.assert_allclose(other, share * one, rtol=1e-4, atol=1e-6)
