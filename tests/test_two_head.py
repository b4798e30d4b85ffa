"""The two-head model against a numpy re-implementation; positions, iterations, dropout."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gidd_jax.errors import InputError
from gidd_jax.models.layers import dropout, project, rotary_angles, rotate
from gidd_jax.models.two_head import Couplings, TwoHeadConfig, apply, count_parameters, init

CELLS, DIGITS, BATCH = 16, 4, 3
TINY = dict(cells=CELLS, digits=DIGITS, box_rows=2, box_cols=2, d_model=16, layers=1, heads=2, d_ff=24)
POSTS = dict(trunk="shared", norm="post", given=False)

run = partial(jax.jit, static_argnames=("config", "cross"))(apply)


def tiny(**changes):
    return TwoHeadConfig(**(TINY | changes))


def params_of(config, seed=0):
    """Random parameters, biases and scales too, so that no test passes because they are 0 or 1."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        values = rng.normal(size=leaf.shape) * (0.5 if path[-1].key == "embedding" else 0.25)
        return jnp.asarray(values + (path[-1].key == "scale"), jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(lambda: init(jax.random.key(0), config)))


def batch(seed=0, boards=BATCH):
    rng = np.random.default_rng(seed)
    z = jnp.asarray(rng.integers(1, DIGITS + 1, (boards, CELLS)), jnp.int32)
    return z, jnp.asarray(rng.random((boards, CELLS)) < 0.4), jnp.asarray(rng.random(boards), jnp.float32)


# ---------------------------------------------------------------- numbers and shapes


def test_parameter_count_of_the_posts_model():
    config = TwoHeadConfig(81, 9, 3, 3, **POSTS)
    assert count_parameters(jax.eval_shape(lambda key: init(key, config), jax.random.key(0))) == 806_026


@pytest.mark.parametrize(
    "config", [tiny(), tiny(trunk="shared"), tiny(iterations=3), tiny(gated=True, mask_token=True)]
)
def test_shapes(config):
    heads = run(params_of(config), config, *batch(), Couplings(0.5, 1.0, 1.0, 0.5))
    assert heads.jump.shape == (config.iterations, BATCH, CELLS, DIGITS)
    assert heads.holding.shape == (config.iterations, BATCH, CELLS)
    assert heads.features.shape == (config.towers, BATCH, CELLS, config.d_model)
    assert all(leaf.dtype == jnp.float32 for leaf in heads)


def test_init_draws_what_it_says(key):
    config = TwoHeadConfig(16, 4, 2, 2, d_model=64, layers=2, d_ff=256)
    tree = jax.jit(partial(init, config=config))(key)
    kernel = tree["blocks_0"]["feed"]["up"]["kernel"]
    residual = tree["blocks_1"]["feed"]["out"]["kernel"]
    # Relative standard error of a standard deviation is 1/sqrt(2n): 0.4 % at n = 32,768 and 1.5 % at n = 2,048.
    np.testing.assert_allclose(kernel.std(), 64**-0.5, rtol=0.02)
    np.testing.assert_allclose(residual.std(), (256 * 4) ** -0.5, rtol=0.02)
    np.testing.assert_allclose(tree["position"]["embedding"].std(), 0.5, rtol=0.08)
    assert (tree["norm"]["scale"] == 1).all() and (tree["norm"]["bias"] == 0).all()
    assert abs(np.corrcoef(kernel[0].ravel(), kernel[1].ravel())[0, 1]) < 0.05


def test_init_vmaps():
    draw = partial(init, config=tiny())
    many = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(3), 2))
    for index, one in enumerate(jax.random.split(jax.random.key(3), 2)):
        jax.tree.map(
            lambda row, leaf, i=index: np.testing.assert_allclose(row[i], leaf, rtol=1e-6), many, jax.jit(draw)(one)
        )


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (dict(digits=5), "digits"),
        (dict(cells=15), "cells"),
        (dict(box_rows=3), "boxes"),
        (dict(d_model=15), "multiple of 2 x heads"),
        (dict(d_model=12, positions="rope"), "multiple of 4 x heads"),
        (dict(gated=True), "gated needs mask_token"),
        (dict(dropout=1.0), "dropout 1.0 must lie in"),
        (dict(iterations=0), "iterations start at 1"),
    ],
)
def test_config_refuses(wrong, complaint):
    with pytest.raises(InputError, match=complaint):
        tiny(**wrong)


# ---------------------------------------------------------------- an independent forward pass


def numpy_model(tree, z, config):
    """Blind shared trunk in float64, one head at a time, written from the formulas."""
    tree = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64)[0], tree)

    def dense(x, layer):
        return x @ layer["kernel"] + layer["bias"]

    def norm(x, layer):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * layer["scale"] + layer[
            "bias"
        ]

    def attend(x, layer):
        q, k, v = np.split(dense(x, layer["qkv"]), 3, axis=-1)
        outs = []
        for head in range(config.heads):
            part = slice(head * q.shape[-1] // config.heads, (head + 1) * q.shape[-1] // config.heads)
            scores = q[..., part] @ np.swapaxes(k[..., part], 1, 2) / np.sqrt(part.stop - part.start)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            outs.append(weights / weights.sum(-1, keepdims=True) @ v[..., part])
        return dense(np.concatenate(outs, -1), layer["out"])

    def feed(x, layer):
        return dense(np.maximum(dense(x, layer["up"]), 0), layer["out"])

    x = tree["token"]["embedding"][z] + tree["position"]["embedding"][None]
    for index in range(config.layers):
        block = tree[f"blocks_{index}"]
        if config.norm == "post":
            x = norm(x + attend(x, block["attention"]), block["norm_attention"])
            x = norm(x + feed(x, block["feed"]), block["norm_feed"])
        else:
            x = x + attend(norm(x, block["norm_attention"]), block["attention"])
            x = x + feed(norm(x, block["norm_feed"]), block["feed"])
    if config.norm == "pre":
        x = norm(x, tree["norm"])
    return dense(x, tree["jump"]), dense(x, tree["holding"])[..., 0], x


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_forward_equals_numpy(norm):
    config = tiny(**POSTS | dict(norm=norm, layers=2))
    tree = params_of(config)
    z, given, t = batch()
    heads = run(tree, config, z, given, t, Couplings())
    jump, holding, features = numpy_model(tree, np.asarray(z), config)
    np.testing.assert_allclose(heads.jump[0], jump, atol=1e-5)
    np.testing.assert_allclose(heads.holding[0], holding, atol=1e-5)
    np.testing.assert_allclose(heads.features[0], features, atol=1e-5)


def test_bfloat16_is_close_to_float32():
    tree, inputs = params_of(tiny()), batch()

    @partial(jax.jit, static_argnums=0)
    def everything(config):
        def loss(tree):
            heads = apply(tree, config, *inputs, Couplings(0.5))
            return jnp.sum(jnp.sin(heads.jump)) + jnp.sum(jnp.sin(heads.holding)), heads

        return jax.grad(loss, has_aux=True)(tree)

    high, low = everything(tiny()), everything(tiny(dtype="bfloat16"))
    for one, other in zip(jax.tree.leaves(low), jax.tree.leaves(high), strict=True):
        assert one.dtype == jnp.float32
        error = np.sqrt(np.square(one - other).mean() / (np.square(other).mean() + 1e-3))
        assert error < 0.05
    assert (low[1].features != high[1].features).any()


def test_float32_stays_so_under_x64():
    with jax.enable_x64(True):
        config = tiny(time=True)
        tree = jax.eval_shape(lambda: init(jax.random.key(0), config))
        heads = jax.eval_shape(lambda tree: apply(tree, config, *batch(), Couplings()), tree)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((tree, heads)))


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32])
def test_board_dtype_does_not_matter(dtype):
    config, (z, given, t) = tiny(), batch()
    heads = run(params_of(config), config, z.astype(dtype), given, t, Couplings())
    np.testing.assert_array_equal(heads.jump, run(params_of(config), config, z, given, t, Couplings()).jump)


@pytest.mark.parametrize(("field", "index"), [("given", 1), ("time", 2)])
def test_optional_input_acts_only_when_configured(field, index):
    inputs = list(batch())
    changed = inputs.copy()
    changed[index] = ~inputs[1] if index == 1 else 1 - inputs[2]
    for on in (True, False):
        config = tiny(**{field: on})
        one, other = (run(params_of(config), config, *each, Couplings()).jump for each in (inputs, changed))
        assert bool((one == other).all()) != on


@pytest.mark.parametrize("gated", [False, True])
def test_a_model_that_sees_no_given_flag_is_one_without_it(gated):
    seeing, blind = (tiny(given=on, gated=gated, mask_token=gated) for on in (True, False))
    tree, inputs, dials = params_of(seeing), batch(), Couplings(0.5, gate=0.5, gate_hard=0.5)
    without = {name: leaf for name, leaf in tree.items() if name != "given_flag"}
    expected = run(without, blind, *inputs, dials)
    for found, truth in zip(run(tree, seeing, *inputs, dials._replace(sees_given=0.0)), expected, strict=True):
        np.testing.assert_allclose(found, truth, atol=2e-6)
    half = run(tree, seeing, *inputs, dials._replace(sees_given=0.5)).jump
    assert not any(np.allclose(half, run(tree, seeing, *inputs, dials._replace(sees_given=x)).jump) for x in (0.0, 1.0))


# ---------------------------------------------------------------- rotary positions


def test_rotary_scores_depend_on_row_and_column_differences_only():
    rng = np.random.default_rng(0)
    side, width = 4, 8
    q, k = (jnp.asarray(np.broadcast_to(rng.normal(size=width), (side * side, width)), jnp.float32) for _ in "qk")
    angles = rotary_angles(side, width)
    scores = np.asarray(rotate(q, angles) @ rotate(k, angles).T).reshape(side, side, side, side)
    for dr in (-1, 0, 2):
        for dc in (0, 1):
            same = [
                scores[r, c, r + dr, c + dc] for r in range(side) for c in range(side) if 0 <= r + dr < side > c + dc
            ]
            np.testing.assert_allclose(same, same[0], rtol=1e-4, atol=1e-5)
    assert np.ptp(scores[0, 0]) > 0.1


def test_rotary_model_tells_rows_from_columns_and_has_no_table():
    config = tiny(positions="rope", given=False)
    tree, (z, given, t) = params_of(config), batch()
    assert "position" not in tree
    jump = run(tree, config, z, given, t, Couplings()).jump
    turned = z.reshape(BATCH, DIGITS, DIGITS).transpose(0, 2, 1).reshape(BATCH, CELLS)
    assert not np.allclose(run(tree, config, turned, given, t, Couplings()).jump.sum(2), jump.sum(2), atol=1e-3)


# ---------------------------------------------------------------- weight-shared iterations


def test_iterations_share_weights_and_start_as_the_plain_model():
    counts = {n: jax.tree.map(jnp.shape, params_of(tiny(iterations=n))) for n in (2, 5)}
    assert counts[2] == counts[5]
    tree = params_of(tiny(iterations=3))
    many = run(tree, tiny(iterations=3), *batch(), Couplings(0.5))
    plain = {name: part for name, part in tree.items() if name != "feedback"}
    np.testing.assert_allclose(many.jump[0], run(plain, tiny(), *batch(), Couplings(0.5)).jump[0], atol=1e-5)
    two = run(tree, tiny(iterations=2), *batch(), Couplings(0.5))
    np.testing.assert_allclose(many.jump[:2], two.jump, atol=1e-4)
    np.testing.assert_allclose(many.holding[:2], two.holding, atol=1e-4)
    assert np.abs(many.jump[2] - many.jump[1]).max() > 1e-3


def test_program_does_not_grow_with_iterations():
    def equations(n):
        config = tiny(iterations=n)
        tree = jax.eval_shape(lambda key: init(key, config), jax.random.key(0))
        return str(jax.make_jaxpr(lambda tree: apply(tree, config, *batch(), Couplings()))(tree)).count("dot_general")

    assert equations(3) == equations(9)


@pytest.mark.slow
def test_iterated_model_learns():
    """Digit of the mirrored cell: the loss at every iteration falls well below log 4 = 1.39 nats."""
    config = tiny(d_model=32, d_ff=64, iterations=3, dropout=0.02)
    rng = np.random.default_rng(1)
    z = jnp.asarray(rng.integers(1, DIGITS + 1, (32, CELLS)), jnp.int32)
    wrong = jnp.asarray(rng.random((32, CELLS)) < 0.5)
    optimizer = optax.adam(3e-3)

    def loss(tree, key):
        heads = apply(tree, config, z, ~wrong, jnp.ones(32), Couplings(0.5), dropout_key=key)
        target_IxBxS = jnp.broadcast_to(z[None, :, ::-1] - 1, heads.holding.shape)
        jump = optax.softmax_cross_entropy_with_integer_labels(heads.jump, target_IxBxS).mean((1, 2))
        holding = optax.sigmoid_binary_cross_entropy(heads.holding, wrong[None] + jnp.zeros_like(heads.holding))
        return (jump + holding.mean((1, 2))).mean(), jump

    def step(state, key):
        tree, moments = state
        (_, jump), gradient = jax.value_and_grad(loss, has_aux=True)(tree, key)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(tree, updates), moments), jump

    tree = jax.jit(partial(init, config=config))(jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 150)
    _, jump = jax.jit(lambda state: jax.lax.scan(step, state, keys))((tree, optimizer.init(tree)))
    assert np.isfinite(jump).all()
    assert (jump[-10:].mean(0) < 0.7 * jump[:3].mean(0)).all() and jump[-10:, -1].mean() < 0.9


# ---------------------------------------------------------------- products, dropout and replicas


@pytest.mark.parametrize("widths", [(3, 5), (5, 3), (4, 4)])
def test_the_gradient_of_a_product_is_that_of_einsum_in_either_order(key, widths):
    x_key, w_key = jax.random.split(key)
    x, w = jax.random.normal(x_key, (2, 21, widths[0])), jax.random.normal(w_key, (2, *widths))

    def loss(product, x, w):
        return jnp.sin(product(x, w)).sum()

    plain = partial(loss, partial(jnp.einsum, "tnd,tdf->tnf"))
    for ours, theirs in zip(jax.grad(partial(loss, project), (0, 1))(x, w), jax.grad(plain, (0, 1))(x, w), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)
    bent = jax.jvp(jax.grad(partial(loss, project), 1), (x, w), (x, w))[1]
    np.testing.assert_allclose(bent, jax.jvp(jax.grad(plain, 1), (x, w), (x, w))[1], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(40_000,), (400, 100), (4, 81, 81)])
@pytest.mark.parametrize("rate", [0.003, 0.1, 0.5])
def test_dropout_keeps_its_rate_and_is_independent_along_every_axis_and_between_keys(key, shape, rate):
    keep = 1 - rate
    first, second = (np.asarray(dropout(k, jnp.ones(shape), rate)) for k in jax.random.split(key))
    np.testing.assert_allclose(np.unique(first), [0.0, 1 / keep], rtol=1e-6)
    # 5 standard errors, alpha = 6e-7 each (the key is fixed).
    assert abs((first > 0).mean() - keep) < 5 * np.sqrt(keep * rate / first.size)
    pairs = [(first, second), (first[::-1], second)]
    pairs += [(first, np.roll(first, step, axis)) for axis, n in enumerate(shape) for step in (1, 2, 3, 16) if step % n]
    for one, other in pairs:
        assert abs(np.corrcoef(one.ravel() > 0, other.ravel() > 0)[0, 1]) < 5 / np.sqrt(first.size)


def test_dropout_of_all_rows_of_bits_is_uniform(key):
    kept = np.asarray(dropout(key, jnp.ones((1 << 12, 1 << 8)), 0.5)) > 0
    # Bytes of eight neighbours, along rows and along columns: chi2 with 255 degrees, 5 standard deviations.
    for bits in (kept, kept.T):
        counts = np.bincount(np.packbits(bits).ravel(), minlength=256)
        assert abs(((counts - counts.mean()) ** 2 / counts.mean()).sum() - 255) < 5 * np.sqrt(2 * 255)


def test_dropout_acts_only_with_a_key_and_a_rate(key):
    config, inputs = tiny(dropout=0.2), batch()
    tree = params_of(config)
    plain = run(tree, tiny(), *inputs, Couplings()).jump
    np.testing.assert_array_equal(run(tree, config, *inputs, Couplings()).jump, plain)
    np.testing.assert_array_equal(run(tree, tiny(), *inputs, Couplings(), dropout_key=jax.random.key(1)).jump, plain)
    one, again, other = (
        run(tree, config, *inputs, Couplings(), dropout_key=jax.random.key(seed)).jump for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, again)
    assert (one != plain).any() and (one != other).any()


def test_vmap_over_replicas_equals_one_by_one():
    config, inputs = tiny(gated=True, mask_token=True), batch()
    trees = [params_of(config, seed) for seed in range(3)]
    dials = [[0.0, 0.5, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [0.0, 0.3, 1.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.0]]
    dials += [[1.0, 0.5, 0.0]]
    dials = Couplings(*jnp.asarray(dials))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    many = jax.jit(jax.vmap(lambda tree, dial: apply(tree, config, *inputs, dial)))(stacked, dials)
    for index, tree in enumerate(trees):
        one = run(tree, config, *inputs, jax.tree.map(lambda dial, i=index: dial[i], dials))
        for row, alone in zip(many, one, strict=True):
            np.testing.assert_allclose(row[index], alone, atol=1e-5)
