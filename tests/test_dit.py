"""The diffusion transformer against the reference implementation's numbers and closed forms; its uses."""

import dataclasses
import pathlib
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import corruption, losses, optim, schedules, train
from gidd_jax.errors import InputError
from gidd_jax.models import dit
from gidd_jax.models.dit import DitConfig
from gidd_jax.models.layers import line_angles, rotate, standardise
from gidd_jax.replica import paired_attention
from gidd_jax.weights.dit import LAYER, OUTSIDE

GOLDEN = pathlib.Path(__file__).parent / "golden" / "gidd.npz"
TINY = DitConfig(11, layers=2, d_model=16, heads=2, cond=8, max_length=12, padded_vocab=13)

apply, features = (jax.jit(f, static_argnames="config") for f in (dit.apply, dit.features))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as file:
        return {key.removeprefix("dit/"): file[key] for key in file if key.startswith("dit/")}


@pytest.fixture(scope="module")
def reference(golden):
    """Config and parameters of the stored run, laid out by hand."""
    sizes = {"vocab_size": "vocab_size", "layers": "n_blocks", "d_model": "hidden_size", "heads": "n_heads"}
    sizes |= {"cond": "cond_dim", "max_length": "max_seq_len"}
    config = DitConfig(**{ours: int(golden[f"in/{theirs}"]) for ours, theirs in sizes.items()})
    tree = {}

    def put(path, value):
        *folders, leaf = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = jnp.asarray(np.swapaxes(value, -1, -2) if leaf == "kernel" else value)

    for ours, theirs in LAYER.items():
        put(f"blocks/{ours}", np.stack([golden[f"param/blocks.{i}.{theirs}"] for i in range(config.layers)]))
    for ours, theirs in OUTSIDE.items():
        put(ours, golden[f"param/{theirs}"])
    return config, tree


def params_of(config, seed=0):
    """Random parameters, also where a fresh model has zeros and ones, so that no test passes because of those."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        width = 1.0 if path[-1].key in ("token", "condition") else 0.25
        return jnp.asarray(width * rng.normal(size=leaf.shape) + (path[-1].key == "scale"), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, dit.shapes(config))


def tokens(config, batch=3, length=10, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, config.vocab_size, (batch, length)), jnp.int32), jnp.asarray(
        rng.random(batch), jnp.float32
    )


def near(found, wanted, largest=2e-6):
    """Within a share of the largest wanted number, the precision of the float32 reference."""
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=largest * np.abs(wanted).max())


# ---------------------------------------------------------------- the reference implementation


def test_reference_logits(golden, reference):
    config, tree = reference
    ids, t = jnp.asarray(golden["in/ids"]), jnp.asarray(golden["in/t"])
    near(apply(tree, config, ids, t), golden["out/logits"])
    kernel, bias = dit.head(tree)
    near(features(tree, config, ids, t) @ kernel + bias[None, None], golden["out/logits"])


def test_reference_conditioning(golden, reference):
    config, tree = reference
    t = jnp.asarray(golden["in/t"])
    near(dit.time_waves(t), golden["out/t_freq_embedding"])
    near(dit.TimeEmbedding(config.cond).apply({"params": tree["time"]}, t), golden["out/cond"])


@pytest.mark.parametrize(("size", "millions"), [("small", 169.6), ("base", 424.5)])
def test_presets_have_the_published_number_of_parameters(size, millions):
    config = DitConfig(50_259, padded_vocab=50_259, **dit.PRESETS[size])
    assert round(dit.parameter_count(config) / 1e6, 1) == millions


def test_presets_pad_the_vocabulary():
    config = DitConfig(50_259, **dit.PRESETS["tiny"])
    assert (config.padded_vocab, config.layers, config.d_model, config.heads) == (50_304, 8, 512, 8)
    assert 130e6 < dit.parameter_count(DitConfig(50_259, **dit.PRESETS["small"])) < 170e6


# ---------------------------------------------------------------- initialisation


def test_init_draws_what_it_says(key):
    config = DitConfig(500, layers=3, d_model=64, heads=4, cond=32)
    tree = jax.jit(partial(dit.init, config=config))(key)
    assert jax.tree.map(jnp.shape, tree) == jax.tree.map(lambda leaf: leaf.shape, dit.shapes(config))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(tree))
    blocks = tree["blocks"]
    for zero in (tree["head"], tree["modulation"], blocks["modulation"]):
        assert not any(np.any(leaf) for leaf in zero.values())
    for name, fan_in in (("qkv", 64), ("out", 64), ("up", 64), ("down", 256)):
        for leaf in blocks[name].values():
            # n = 192 at the least: all below the bound, the largest within 8 % of it with probability 1 - 1e-7.
            assert 0.92 < np.abs(leaf).max() * fan_in**0.5 < 1
        # The standard error of the standard deviation of a uniform number is 0.45 / sqrt(n) of it: 0.4 % at n = 12,288.
        np.testing.assert_allclose(blocks[name]["kernel"].std() * (3 * fan_in) ** 0.5, 1, rtol=0.02)
    np.testing.assert_allclose(np.std(tree["token"]) * (3 * 64) ** 0.5, 1, rtol=0.02)
    first, second = blocks["qkv"]["kernel"][:2]
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_a_fresh_model_says_nothing_and_its_blocks_are_the_identity(key):
    tree = jax.jit(partial(dit.init, config=TINY))(key)
    ids, t = tokens(TINY)
    assert not np.any(apply(tree, TINY, ids, t))
    np.testing.assert_allclose(features(tree, TINY, ids, t), standardise(tree["token"][ids]), atol=1e-6)


# ---------------------------------------------------------------- inputs


def test_every_cell_sees_every_other_and_the_time():
    tree, (ids, t) = params_of(TINY), tokens(TINY)
    logits = apply(tree, TINY, ids, t)
    assert logits.shape == (3, 10, 13) and logits.dtype == jnp.float32
    for changed, seen in ((0, -1), (-1, 0)):
        other = apply(tree, TINY, ids.at[:, changed].set((ids[:, changed] + 1) % 11), t)
        assert (np.abs(other - logits)[:, seen].max(-1) > 1e-3).all()
    later = apply(tree, TINY, ids, t.at[0].add(0.5))
    assert np.abs(later - logits)[0].max() > 1e-3
    np.testing.assert_allclose(later[1:], logits[1:], atol=1e-6)


def test_order_matters_but_the_batch_does_not():
    tree, (ids, t) = params_of(TINY), tokens(TINY)
    logits = apply(tree, TINY, ids, t)
    np.testing.assert_allclose(apply(tree, TINY, ids[::-1], t[::-1]), logits[::-1], atol=1e-5)
    assert np.abs(apply(tree, TINY, ids[:, ::-1], t)[:, ::-1] - logits).max() > 1e-2


def test_one_time_serves_the_whole_batch():
    tree, (ids, _) = params_of(TINY), tokens(TINY)
    np.testing.assert_array_equal(apply(tree, TINY, ids, 0.3), apply(tree, TINY, ids, jnp.full(3, 0.3)))


def test_without_time_there_is_a_constant_instead():
    config = DitConfig(11, layers=2, d_model=16, heads=2, cond=8, padded_vocab=13, time=False)
    tree, (ids, t) = params_of(config), tokens(config)
    assert "time" not in tree and tree["condition"].shape == (8,)
    np.testing.assert_array_equal(apply(tree, config, ids, t), apply(tree, config, ids, 1 - t))
    moved = tree | {"condition": tree["condition"] + 0.5}
    assert np.abs(apply(moved, config, ids, t) - apply(tree, config, ids, t)).max() > 1e-2


def test_too_many_tokens_are_refused():
    with pytest.raises(InputError, match="13 tokens are more than the model's max_length 12"):
        dit.apply(params_of(TINY), TINY, jnp.zeros((1, 13), jnp.int32), 0.5)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (dict(layers=0), "sizes start at 1"),
        (dict(d_model=18, heads=4), "multiple of 2 x heads"),
        (dict(padded_vocab=10), "narrower than the 11 tokens"),
    ],
)
def test_config_refuses(wrong, complaint):
    with pytest.raises(InputError, match=complaint):
        DitConfig(**(dict(vocab_size=11, d_model=16, heads=2) | wrong))


def test_rotary_scores_depend_on_distance_only():
    rng = np.random.default_rng(0)
    q, k = (jnp.asarray(np.broadcast_to(rng.normal(size=8), (6, 8)), jnp.float32) for _ in "qk")
    angles = line_angles(6, 8)
    scores = np.asarray(rotate(q, angles) @ rotate(k, angles).T)
    for distance in range(-5, 6):
        diagonal = np.diagonal(scores, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-4, atol=1e-5)
    assert np.ptp(scores[0]) > 0.1


# ---------------------------------------------------------------- numbers, size, replicas


def test_bfloat16_rounds_the_layers_but_not_the_logits():
    tree, inputs = params_of(TINY), tokens(TINY)
    low = dataclasses.replace(TINY, dtype="bfloat16")
    one, other = (apply(tree, config, *inputs) for config in (low, TINY))
    assert one.dtype == jnp.float32
    assert 1e-4 < np.abs(one - other).max() / np.abs(other).max() < 0.05
    assert (one != one.astype(jnp.bfloat16)).mean() > 0.9


@pytest.mark.slow
def test_gradients_in_bfloat16_are_close():
    inputs = tokens(TINY)

    @partial(jax.jit, static_argnums=0)
    def gradient(config):
        return jax.grad(lambda tree: jnp.sin(dit.apply(tree, config, *inputs)).sum())(params_of(TINY))

    low, high = gradient(dataclasses.replace(TINY, dtype="bfloat16")), gradient(TINY)
    for one, other in zip(jax.tree.leaves(low), jax.tree.leaves(high), strict=True):
        assert one.dtype == jnp.float32
        assert np.sqrt(np.square(one - other).mean() / (np.square(other).mean() + 1e-3)) < 0.05


def test_the_program_does_not_grow_with_depth():
    def products(layers):
        config = DitConfig(11, layers=layers, d_model=16, heads=2, cond=8)
        return str(jax.make_jaxpr(lambda tree: dit.apply(tree, config, *tokens(config)))(params_of(config))).count(
            "dot_general"
        )

    assert products(2) == products(9)


def test_vmap_over_replicas_equals_one_by_one():
    trees, inputs = [params_of(TINY, seed) for seed in range(3)], tokens(TINY)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    many = jax.jit(jax.vmap(lambda tree: dit.apply(tree, TINY, *inputs)))(stacked)
    for row, tree in zip(many, trees, strict=True):
        np.testing.assert_allclose(row, apply(tree, TINY, *inputs), atol=1e-5)


@pytest.mark.slow
def test_the_loss_of_lazy_logits_is_the_loss_of_the_logits():
    schedule = schedules.hybrid(11, 10, 0.2)
    tree, (x, t) = params_of(TINY), tokens(TINY)
    z, _ = corruption.corrupt(jax.random.key(1), schedule, x, t)

    @jax.jit
    def both(tree):
        lazy = losses.LazyLogits(dit.features(tree, TINY, z, t), *dit.head(tree), chunk=7)
        return [losses.gidd_loss(schedule, logits, x, z, t)[0] for logits in (lazy, dit.apply(tree, TINY, z, t))]

    np.testing.assert_allclose(*both(tree), rtol=1e-5)


# ---------------------------------------------------------------- the block under other models


def test_a_block_couples_two_streams_example_by_example():
    block = dit.Block(heads=2, attend=paired_attention)
    rng = np.random.default_rng(0)
    x_PxBxSxD, c_PxBxC = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((2, 3, 5, 8), (2, 3, 4)))
    shapes = jax.eval_shape(block.init, jax.random.key(0), x_PxBxSxD, c_PxBxC, jnp.zeros(3))
    tree = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 3, jnp.float32), shapes)
    run = jax.jit(block.apply)
    alone = jax.jit(dit.Block(heads=2).apply)(tree, x_PxBxSxD, c_PxBxC)
    coupled = run(tree, x_PxBxSxD, c_PxBxC, jnp.asarray([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(coupled[:, 0], alone[:, 0], atol=1e-5)
    assert (np.abs(coupled - alone)[:, 1:].max((2, 3)) > 1e-2).all()
    # Two equal streams read nothing new from each other, whatever the coupling.
    twins, cond = (jnp.stack([a[0], a[0]]) for a in (x_PxBxSxD, c_PxBxC))
    np.testing.assert_allclose(run(tree, twins, cond, jnp.ones(3))[1], alone[0], atol=1e-5)


# ---------------------------------------------------------------- training


class Rates(NamedTuple):
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    b2: float = 0.99


@pytest.mark.slow
def test_it_learns_to_denoise():
    """Sequences that count on from their first token: one visible token tells the rest, so the ELBO falls near 0."""
    model = DitConfig(9, layers=2, d_model=32, heads=2, cond=16)
    schedule = schedules.hybrid(9, 8, 0.1)

    def batch(key, hyper, config, data, i):
        first, noise = jax.random.split(key)
        x = (jax.random.randint(first, (64, 1), 0, 8) + jnp.arange(8)[None, :]) % 8
        at, draw = jax.random.split(noise)
        t = jax.random.uniform(at, (64,), minval=0.02, maxval=0.98)
        return x, corruption.corrupt(draw, schedule, x, t)[0], t

    def loss(params, drawn, key, hyper, config, data, i):
        x, z, t = drawn
        value, metrics = losses.gidd_loss(schedule, dit.apply(params, model, z, t), x, z, t)
        return value, metrics

    config = optim.OptimConfig(steps=400)
    step = train.gradient_step(batch, loss)
    state = train.start(jax.jit(partial(dit.init, config=model))(jax.random.key(0)), config)

    def run(state, i):
        state, metrics, healthy = step(state, jax.random.fold_in(jax.random.key(1), i), Rates(), config, None, i)
        return state, (metrics["loss"], healthy)

    _, (value, healthy) = jax.jit(lambda state: jax.lax.scan(run, state, jnp.arange(400)))(state)
    assert healthy.all()
    assert value[-50:].mean() < 0.35 * value[:5].mean()


@pytest.mark.parametrize("layer", [1, 2])
def test_a_hook_reads_and_replaces_the_states_between_two_layers(layer):
    config = dataclasses.replace(TINY, layers=3)
    params = params_of(config)
    ids, t = jnp.arange(24).reshape(2, 12) % 11, jnp.array([0.2, 0.7])

    @jax.jit
    def hooked(params, scale):
        return dit.hooked(params, config, ids, t, layer, lambda x: (scale * x, {"seen": x, "sum": x.sum(-1)}))

    logits, told = hooked(params, 1.0)
    np.testing.assert_allclose(logits, apply(params, config, ids, t), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(told["sum"], told["seen"].sum(-1), rtol=1e-4, atol=1e-5)
    # With what was seen in place of the states, the layers below say nothing: moving them moves nothing.
    below = lambda leaf: leaf.at[:layer].add(0.5)  # noqa: E731
    other = params | {"blocks": jax.tree.map(below, params["blocks"])}
    again, seen = jax.jit(lambda p: dit.hooked(p, config, ids, t, layer, lambda x: (told["seen"], x)))(other)
    np.testing.assert_allclose(again, logits, rtol=1e-5, atol=1e-5)
    assert np.abs(np.asarray(seen - told["seen"])).max() > 1e-2
    assert np.abs(np.asarray(hooked(params, 0.5)[0] - logits)).max() > 1e-3


@pytest.mark.parametrize("layer", [0, 2])
def test_a_hook_stands_between_two_layers(layer):
    with pytest.raises(InputError, match=f"layer {layer}: a hook stands between two of the 2 layers"):
        dit.hooked(dit.init(jax.random.key(0), TINY), TINY, jnp.zeros((1, 4), jnp.int32), 0.0, layer, lambda x: (x, x))
