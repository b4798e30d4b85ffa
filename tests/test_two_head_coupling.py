"""The exactness that the dials between the two heads promise: towers, gradients, gate."""

from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax.models import two_head
from gidd_jax.models.layers import scale_gradient
from gidd_jax.models.two_head import Couplings, Cross, apply
from gidd_jax.replica import paired_attention
from tests.test_two_head import batch, params_of, run, tiny


def tower(tree, index):
    """One tower of a towers model as the parameters of a shared one; the two heads have a single row already."""
    return jax.tree.map(lambda leaf: leaf[index : index + 1] if leaf.shape[0] == 2 else leaf, tree)


# Parts with one row that belong to one tower alone.
OWN = ({"holding"}, {"jump", "feedback"})


def leaves_of(tree, index):
    """The parameters of tower `index`, its head included."""
    return jax.tree.leaves(tower({name: part for name, part in tree.items() if name not in OWN[1 - index]}, index))


def poison(tree, index):
    """NaN in everything that belongs to tower `index`."""

    def spoil(path, leaf):
        if leaf.shape[0] == 2:
            return leaf.at[index].set(jnp.nan)
        return leaf * jnp.nan if path[0].key in OWN[index] else leaf

    return jax.tree_util.tree_map_with_path(spoil, tree)


# ---------------------------------------------------------------- coupling of towers

VARIANTS = [dict(layers=2), dict(gated=True, mask_token=True, gate_stop=False), dict(iterations=2), dict(norm="post")]


@pytest.mark.exact
@pytest.mark.parametrize("variant", VARIANTS)
def test_uncoupled_towers_exchange_nothing(variant):
    config = tiny(**variant)
    tree, inputs = params_of(config), batch()

    @jax.jit
    def outputs(tree):
        def one(tree, head):
            heads = apply(tree, config, *inputs, Couplings())
            return jnp.sum(jnp.sin(heads[head])), heads[head]

        return [jax.value_and_grad(partial(one, head=head), has_aux=True)(tree) for head in (1, 0)]

    clean = outputs(tree)
    for mine, other in ((0, 1), (1, 0)):
        (_, logits), gradient = clean[mine]
        assert all((leaf == 0).all() for leaf in leaves_of(gradient, other)), "a gradient crossed at K = 0"
        assert any((leaf != 0).any() for leaf in leaves_of(gradient, mine))
        (_, logits_poisoned), gradient_poisoned = outputs(poison(tree, other))[mine]
        np.testing.assert_array_equal(logits_poisoned, logits)
        for leaf, leaf_poisoned in zip(leaves_of(gradient, mine), leaves_of(gradient_poisoned, mine), strict=True):
            np.testing.assert_array_equal(leaf_poisoned, leaf)


@pytest.mark.exact
def test_uncoupled_towers_are_two_single_models():
    config, single = tiny(), tiny(trunk="shared")
    tree, inputs = params_of(config), batch()
    both = run(tree, config, *inputs, Couplings())
    np.testing.assert_allclose(both.holding, run(tower(tree, 0), single, *inputs, Couplings()).holding, atol=1e-5)
    np.testing.assert_allclose(both.jump, run(tower(tree, 1), single, *inputs, Couplings()).jump, atol=1e-5)


def test_coupled_towers_do_exchange():
    config, inputs = tiny(), batch()
    gradient = jax.jit(jax.grad(lambda tree: apply(tree, config, *inputs, Couplings(0.5)).holding.sum()))
    tree = params_of(config)
    crossed = gradient(tree)["blocks_0"]["attention"]["qkv"]["kernel"][1]
    assert (crossed != 0).any()


def test_knock_out_zero_removes_what_is_read_and_keeps_the_scale():
    config, inputs = tiny(), batch()
    tree = params_of(config)
    g = 0.5
    knocked = run(tree, config, *inputs, Couplings(g), cross="zero")
    # own / (1 + g) is a single model whose output projection is divided by 1 + g.
    scaled = jax.tree.map(lambda leaf: leaf, tree)
    scaled["blocks_0"]["attention"]["out"]["kernel"] /= 1 + g
    alone = run(scaled, config, *inputs, Couplings())
    np.testing.assert_allclose(knocked.jump, alone.jump, atol=1e-5)
    np.testing.assert_allclose(knocked.holding, alone.holding, atol=1e-5)


def test_the_random_change_is_as_large_as_the_knock_out():
    q, k, v = jax.random.normal(jax.random.key(0), (3, 2, 3, 4, 9, 8))
    read = {cross: paired_attention(q, k, v, 0.7, exchange=two_head._EXCHANGE[cross]) for cross in get_args(Cross)}
    change = {cross: np.asarray(out - read["normal"]) for cross, out in read.items()}
    size = {cross: np.linalg.norm(moved, axis=-1) for cross, moved in change.items()}
    np.testing.assert_allclose(size["random"], size["zero"], rtol=1e-4)
    cosine = (change["random"] * change["zero"]).sum(-1) / size["zero"] ** 2
    assert np.abs(cosine.mean(axis=(1, 3))).max() < 0.5
    assert not np.allclose(change["random"][:, :, 0], change["random"][:, :, 1], atol=0.1)


def test_knock_out_shuffle_reads_the_next_board():
    config, (z, given, t) = tiny(), batch()
    tree = params_of(config)
    shuffled = run(tree, config, z, given, t, Couplings(0.5), cross="shuffle")
    assert not np.allclose(shuffled.jump, run(tree, config, z, given, t, Couplings(0.5)).jump, atol=1e-3)
    changed = run(tree, config, z.at[0].set(1), given, t, Couplings(0.5), cross="shuffle")
    moved = np.abs(changed.jump - shuffled.jump)[0].max((1, 2)) > 1e-6
    np.testing.assert_array_equal(moved, [True, True, False])
    same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), (z, given, t))
    np.testing.assert_allclose(
        run(tree, config, *same, Couplings(0.5), cross="shuffle").jump,
        run(tree, config, *same, Couplings(0.5)).jump,
        atol=1e-6,
    )


@pytest.mark.exact
@pytest.mark.parametrize("cross", ["zero", "shuffle"])
def test_knock_out_changes_nothing_where_nothing_is_coupled(cross):
    config = tiny(gated=True, mask_token=True)
    tree, inputs = params_of(config), batch()
    np.testing.assert_array_equal(
        run(tree, config, *inputs, Couplings(), cross=cross).jump, run(tree, config, *inputs, Couplings()).jump
    )


# ---------------------------------------------------------------- gradient dials


def test_gradient_dial_scales_what_enters_the_shared_trunk():
    config, inputs = tiny(trunk="shared"), batch()
    tree = params_of(config)

    @jax.jit
    def gradients(g):
        def loss(tree, head):
            return jnp.sum(jnp.sin(apply(tree, config, *inputs, Couplings(0.0, g, g))[head]))

        return [jax.grad(loss)(tree, head) for head in (0, 1)]

    full, half, none = (gradients(g) for g in (1.0, 0.5, 0.0))
    for head, name in enumerate(("jump", "holding")):
        for part in tree:
            for one, two, zero in zip(
                *(map(jax.tree.leaves, (g[head][part] for g in (full, half, none)))), strict=True
            ):
                if part == name:
                    np.testing.assert_array_equal(two, one)
                    np.testing.assert_array_equal(zero, one)
                else:
                    np.testing.assert_allclose(two, one / 2, rtol=1e-4, atol=1e-6)
                    assert (zero == 0).all()


@pytest.mark.exact
def test_gradient_dial_leaves_the_forward_pass_alone_to_the_bit():
    x = jnp.asarray([0.1, -0.0, jnp.inf, jnp.nan, 1e-40])
    np.testing.assert_array_equal(
        np.asarray(scale_gradient(x, jnp.float32(0.3))).view(np.int32), np.asarray(x).view(np.int32)
    )
    for g, expected in ((0.0, 0.0), (0.3, np.inf)):
        pulled = jax.vjp(lambda x, g=g: scale_gradient(x, jnp.float32(g)), x)[1](jnp.full(5, jnp.inf))[0]
        np.testing.assert_array_equal(pulled, expected)


# ---------------------------------------------------------------- gate


@pytest.mark.exact
def test_closed_gate_is_the_ungated_model():
    gated, plain = tiny(gated=True, mask_token=True), tiny(mask_token=True)
    tree, inputs = params_of(plain), batch()
    one, other = run(tree, gated, *inputs, Couplings(0.5)), run(tree, plain, *inputs, Couplings(0.5))
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("trunk", ["shared", "towers"])
def test_open_gate_masks_the_cells_that_are_not_given(trunk):
    gated, plain = (tiny(trunk=trunk, gated=on, mask_token=True) for on in (True, False))
    tree, (z, given, t) = params_of(plain), batch()
    tree["holding"]["bias"] += 100.0  # p = 1
    masked = jnp.where(given, z, plain.mask_id)
    open_gate = run(tree, gated, z, given, t, Couplings(gate=1.0))
    np.testing.assert_allclose(open_gate.jump, run(tree, plain, masked, given, t, Couplings()).jump, atol=1e-5)
    np.testing.assert_allclose(open_gate.holding, run(tree, plain, z, given, t, Couplings()).holding, atol=1e-5)
    knocked = run(tree, gated, z, given, t, Couplings(gate=1.0), cross="zero")
    np.testing.assert_allclose(knocked.jump, run(tree, plain, z, given, t, Couplings()).jump, atol=1e-5)


def test_the_gate_of_a_blind_model_does_not_tell_which_cells_are_given():
    config = tiny(gated=True, mask_token=True, given=False)
    tree, (z, given, t) = params_of(config), batch()
    one, other = (run(tree, config, z, told, t, Couplings(gate=1.0, gate_hard=1.0)) for told in (given, ~given))
    np.testing.assert_array_equal(one.jump, other.jump)


@pytest.mark.parametrize("stop", [True, False])
def test_gate_stop_decides_whether_the_jump_teaches_the_holding_head(stop):
    config, inputs = tiny(gated=True, mask_token=True, gate_stop=stop), batch()
    tree = params_of(config)
    gradient = jax.jit(jax.grad(lambda tree: jnp.sum(jnp.sin(apply(tree, config, *inputs, Couplings(gate=0.5)).jump))))
    assert bool((gradient(tree)["holding"]["kernel"] == 0).all()) == stop


def test_a_hard_gate_masks_the_cells_scored_above_one_half():
    config, plain = tiny(gated=True, mask_token=True), tiny(mask_token=True)
    tree, (z, given, t) = params_of(plain), batch()
    holding = run(tree, plain, z, given, t, Couplings()).holding[-1]
    masked = jnp.where((holding > 0) & ~given, plain.mask_id, z)
    assert (masked != z).any() and ((masked == z) & ~given).any()
    hard = run(tree, config, z, given, t, Couplings(gate=1.0, gate_hard=1.0))
    np.testing.assert_allclose(hard.jump, run(tree, plain, masked, given, t, Couplings()).jump, atol=1e-5)


def test_a_gate_of_true_labels_masks_these():
    config, plain = tiny(gated=True, mask_token=True), tiny(mask_token=True)
    tree, (z, given, t) = params_of(plain), batch()
    truth = jax.random.bernoulli(jax.random.key(5), 0.5, z.shape)
    masked = jnp.where(truth & ~given, plain.mask_id, z)
    found = apply(tree, config, z, given, t, Couplings(gate=1.0, gate_truth=1.0), truth=truth)
    np.testing.assert_allclose(found.jump, run(tree, plain, masked, given, t, Couplings()).jump, atol=1e-5)
    # Without labels, as in evaluation, the gate reads the head.
    blind = run(tree, config, z, given, t, Couplings(gate=1.0, gate_truth=1.0))
    np.testing.assert_array_equal(blind.jump, run(tree, config, z, given, t, Couplings(gate=1.0)).jump)
