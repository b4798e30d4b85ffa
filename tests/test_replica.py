"""Replica-coupled attention: the exact properties T1-T6 of its specification and independent float64 references."""

import pathlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from gidd_jax import replica

GOLDEN = pathlib.Path(__file__).parent / "golden" / "attention.npz"
NAMES = ("QA", "KA", "VA", "QB", "KB", "VB")


attention, paired_attention, coupled_attention = map(
    jax.jit, (replica.attention, replica.paired_attention, replica.coupled_attention)
)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN, allow_pickle=False) as file:
        return dict(file)


def draw(seed, shape=(2, 3, 5, 4), scale=1.0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape) * scale, jnp.float32) for _ in NAMES]


def numpy_attention(q, k, v):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def test_reference_values_in_float64(golden):
    with jax.enable_x64(True):
        arrays = [jnp.asarray(golden[f"attn_{name}"]) for name in NAMES]
        for index, g in enumerate(golden["attn_g"]):
            out_a, out_b = coupled_attention(*arrays, jnp.asarray(g))
            assert out_a.dtype == jnp.float64
            np.testing.assert_allclose(out_a, golden["attn_outA"][index], atol=2e-15)
            np.testing.assert_allclose(out_b, golden["attn_outB"][index], atol=2e-15)


def test_large_logits_and_another_shape():
    arrays = draw(1, (3, 2, 7, 8), scale=6.0)
    q_a, k_a, v_a, q_b, k_b, v_b = (np.asarray(array, np.float64) for array in arrays)
    out_a, out_b = coupled_attention(*arrays, 0.3)
    expected_a = (numpy_attention(q_a, k_a, v_a) + 0.3 * numpy_attention(q_a, k_b, v_b)) / 1.3
    expected_b = (numpy_attention(q_b, k_b, v_b) + 0.3 * numpy_attention(q_b, k_a, v_a)) / 1.3
    np.testing.assert_allclose(out_a, expected_a, atol=2e-4)
    np.testing.assert_allclose(out_b, expected_b, atol=2e-4)


def test_t1_zero_coupling_is_two_separate_replicas_exactly():
    arrays = draw(2)
    out_a, out_b = coupled_attention(*arrays, 0.0)
    np.testing.assert_array_equal(out_a, attention(*arrays[:3]))
    np.testing.assert_array_equal(out_b, attention(*arrays[3:]))


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_t1_nothing_passes_at_zero_not_even_a_nan(poison):
    clean, dirty = draw(3), draw(3)
    dirty[3:] = [array * poison for array in dirty[3:]]

    def of_a(a, b, g):
        return jnp.sum(jnp.sin(coupled_attention(*a, *b, g)[0]))

    step = jax.jit(jax.value_and_grad(of_a, argnums=(0, 1)))
    loss, (own, crossed) = step(clean[:3], clean[3:], 0.0)
    assert all((np.asarray(leaf) == 0).all() for leaf in crossed)
    dirty_loss, (dirty_own, _) = step(dirty[:3], dirty[3:], 0.0)
    np.testing.assert_array_equal(dirty_loss, loss)
    for one, other in zip(own, dirty_own, strict=True):
        np.testing.assert_array_equal(one, other)
    assert all((np.asarray(leaf) != 0).any() for leaf in step(clean[:3], clean[3:], 0.5)[1][1][1:])


@pytest.mark.parametrize("g", [0.0, 0.25, 1.0])
def test_t2_equal_replicas_stay_equal_for_every_coupling(g):
    half = draw(4)[:3]
    out_a, out_b = coupled_attention(*half, *half, g)
    np.testing.assert_array_equal(out_a, out_b)
    np.testing.assert_allclose(out_a, attention(*half), rtol=1e-6)


def test_t3_exchange():
    arrays = draw(5)
    out_a, out_b = coupled_attention(*arrays, 0.7)
    swapped_a, swapped_b = coupled_attention(*arrays[3:], *arrays[:3], 0.7)
    np.testing.assert_array_equal(out_a, swapped_b)
    np.testing.assert_array_equal(out_b, swapped_a)


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (4, 4, 81, 32), (2, 4, 256, 32)])
def test_t4_full_coupling_and_equal_queries_give_equal_outputs(shape):
    q_a, k_a, v_a, _, k_b, v_b = (jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(6), 6))
    for call in (coupled_attention, jax.jit(coupled_attention)):
        out_a, out_b = call(q_a, k_a, v_a, q_a, k_b, v_b, 1.0)
        np.testing.assert_array_equal(out_a, out_b)


@pytest.mark.parametrize("shift", [0.0, 300.0, 3e4])
def test_large_scores_and_rows_that_may_read_nothing_keep_their_weights(shift):
    """A common shift of a row's scores changes nothing but the rounding of the scores themselves; float64 says so."""
    q, k, v = draw(8, (2, 3, 5, 5))[:3]
    q, k = q.at[..., -1].set(1.0), k.at[..., -1].set(5**0.5 * shift)
    mask = jnp.ones((*q.shape[:-1], k.shape[-2]), bool).at[..., 0, :].set(False).at[..., 1, 2:].set(False)
    scores = np.asarray(q / q.shape[-1] ** 0.5) @ np.asarray(k).swapaxes(-1, -2)
    wide = np.where(mask, scores.astype(np.float64), -1e300)
    weights = np.exp(wide - wide.max(-1, keepdims=True))
    right = weights / weights.sum(-1, keepdims=True) @ np.asarray(v, np.float64)
    alone = attention(q, k, v, mask=mask)
    taken, _ = jax.jvp(lambda v: attention(q, k, v, mask=mask), (v,), (v,))
    weighed = jax.jit(lambda q, k, v: replica.attention(q, k, v, lambda weights: weights, mask))
    for found in (alone, taken, weighed(q, k, v)):
        np.testing.assert_allclose(found, right, atol=2e-6 * max(1.0, shift))
        np.testing.assert_allclose(found[..., 0, :], v.mean(-2), atol=1e-6)
    np.testing.assert_allclose(attention(q, k, jnp.ones_like(v), mask=mask), 1.0, rtol=1e-6)
    np.testing.assert_allclose(weighed(q, k, jnp.ones_like(v)), 1.0, rtol=1e-6)


def test_the_value_alone_is_that_which_is_differentiated():
    q, k, v = draw(7)[:3]
    alone, (taken, _) = attention(q, k, v), jax.jvp(attention, (q, k, v), (q, k, v))
    np.testing.assert_allclose(alone, taken, rtol=2e-6, atol=1e-7)
    weights = jax.nn.softmax(q @ k.swapaxes(-1, -2) / k.shape[-1] ** 0.5, axis=-1)
    np.testing.assert_allclose(alone, weights @ v, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("cells", [(5, 7), (32, 32), (33, 32)], ids=["small", "still small", "large"])
@pytest.mark.parametrize("dropped", [False, True])
def test_every_derivative_is_that_of_the_formula(cells, dropped):
    """Backwards, forwards, and forwards over backwards; transposed products are held up to 32 x 32."""
    keys = jax.random.split(jax.random.key(9), 7)
    q, dq, c = (jax.random.normal(key, (2, 3, cells[0], 4)) for key in keys[:3])
    k, v, dk, dv = (jax.random.normal(key, (2, 3, cells[1], 4)) for key in keys[3:])
    keep = jnp.where(jnp.arange(cells[1]) % 3 > 0, 1.5, 0.0)[None, None, None] if dropped else 1.0

    def formula(q, k, v):
        return (jax.nn.softmax(q @ k.swapaxes(-1, -2) / 2, axis=-1) * keep) @ v

    ours = partial(replica.attention, on_weights=(lambda weights: weights * keep) if dropped else None)
    both = []
    for function in (ours, formula):
        back = jax.grad(lambda q, k, v, f=function: (f(q, k, v) * c).sum(), (0, 1, 2))
        forth = jax.jvp(function, (q, k, v), (dq, dk, dv))
        both.append(jax.tree.leaves((forth, jax.jit(back)(q, k, v), jax.jvp(back, (q, k, v), (dq, dk, dv))[1])))
    for found, right in zip(*both, strict=True):
        np.testing.assert_allclose(found, right, rtol=2e-4, atol=2e-5)


def test_t5_is_not_the_joint_softmax(golden):
    arrays = [jnp.asarray(golden[f"attn_{name}"], jnp.float32) for name in NAMES]
    for g in golden["attn_g"]:
        out_a, out_b = coupled_attention(*arrays, float(g))
        assert np.abs(out_a - golden["attn_naive_outA"]).max() > 1e-2
        assert np.abs(out_b - golden["attn_naive_outB"]).max() > 1e-2


def test_t6_full_coupling_is_the_mean_of_two_attentions_and_rows_sum_to_one():
    q_a, k_a, v_a, q_b, k_b, v_b = draw(7)
    out_a, _ = coupled_attention(q_a, k_a, v_a, q_b, k_b, v_b, 1.0)
    np.testing.assert_allclose(out_a, (attention(q_a, k_a, v_a) + attention(q_a, k_b, v_b)) / 2, atol=1e-6)
    ones = jnp.ones_like(v_a)
    for g in (0.0, 0.1, 0.5, 1.0):
        for out in coupled_attention(q_a, k_a, ones, q_b, k_b, ones, g):
            np.testing.assert_allclose(out, 1.0, rtol=1e-6)


def test_coupling_of_each_board():
    arrays = draw(8)
    g = jnp.asarray([0.0, 0.6])
    out_a, out_b = coupled_attention(*arrays, g)
    for board in range(2):
        alone_a, alone_b = coupled_attention(*(array[board : board + 1] for array in arrays), g[board])
        np.testing.assert_allclose(out_a[board], alone_a[0], atol=1e-6)
        np.testing.assert_allclose(out_b[board], alone_b[0], atol=1e-6)


def test_vmap_over_couplings_equals_one_by_one_with_one_trace():
    arrays = draw(9)
    traces = []

    @jax.jit
    def sweep(g):
        traces.append(None)
        return jax.vmap(lambda g: coupled_attention(*arrays, g))(g)

    g = jnp.linspace(0.0, 1.0, 4)
    out_a, _ = sweep(g)
    sweep(g + 0.1)
    assert len(traces) == 1
    for index in range(4):
        np.testing.assert_allclose(out_a[index], coupled_attention(*arrays, g[index])[0], atol=1e-6)


def test_gradient_against_finite_differences():
    with jax.enable_x64(True):
        arrays = [array.astype(jnp.float64) for array in draw(10, (1, 1, 3, 2))]
        check_grads(
            lambda *args: coupled_attention(*map(jnp.asarray, args)),
            (*arrays, jnp.asarray(0.4)),
            order=1,
            modes=["rev"],
        )


def test_bfloat16_softmax_runs_in_float32():
    arrays = draw(11)
    low, _ = coupled_attention(*(array.astype(jnp.bfloat16) for array in arrays), 0.5)
    high, _ = coupled_attention(*arrays, 0.5)
    assert low.dtype == jnp.bfloat16
    np.testing.assert_allclose(low.astype(jnp.float32), high, atol=0.05)


def test_any_number_of_axes_after_the_pair():
    q, k, v = (jnp.stack(half) for half in zip(draw(12)[:3], draw(12)[3:], strict=True))
    deep = paired_attention(q[:, None], k[:, None], v[:, None], 0.5)
    np.testing.assert_allclose(deep[:, 0], paired_attention(q, k, v, 0.5), atol=1e-6)
