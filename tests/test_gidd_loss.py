"""The fused GIDD loss against the plain one-hot form and automatic gradients; its guards, its memory, its options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import corruption, losses, schedules
from gidd_jax.errors import InputError
from gidd_jax.losses import divergence

pytestmark = pytest.mark.slow  # most of a minute of compiling


MIXES = {
    "hybrid": lambda V, m: (schedules.hybrid(V, m, 0.2), 0.6),
    "hybrid g2": lambda V, m: (schedules.hybrid(V, m, 0.5, 2.0), 0.3),
    "linear uniform": lambda V, m: (schedules.linear(V, m, 1.0), 0.5),
    "snr balanced": lambda V, m: (schedules.log_snr(V, m), 0.4),
    "snr uniform": lambda V, m: (schedules.log_snr(V, m, shift=1000.0), -1.0),
}


def plain(schedule, logits, x, z, t):
    """KL and IS as the paper writes them: dense marginals of one-hot x and softmax, all in the logits' dtype."""
    V, Vm = schedule.vocab_size, logits.shape[-1]
    hidden = (jnp.arange(Vm) == schedule.mask_id)[None, None]
    probs = jax.nn.softmax(jnp.where(hidden, -jnp.inf, logits), -1)
    keep = schedules.over_cells(schedules.alpha(schedule, t))[..., None]
    noise = jnp.pad(schedules.beta_pi(schedule, schedules.over_cells(t)), [(0, 0), (0, 0), (0, Vm - V)])
    q, p = keep * jax.nn.one_hot(x, Vm, dtype=logits.dtype) + noise, keep * probs + noise
    safe = jnp.where(q > 0, q / jnp.where(q > 0, p, 1.0), 1.0)
    kl = (q * jnp.log(safe)).sum(-1)
    q_z, p_z = (jnp.take_along_axis(a, z[..., None], -1)[..., 0] for a in (q, p))
    return kl, q_z / p_z - jnp.log(q_z / p_z) - 1


def batch(schedule, t, shape=(3, 5), width=None, seed=0, scale=3.0, dtype=np.float64):
    """Random logits, clean tokens and tokens noised at t, with every kind of cell present."""
    rng = np.random.default_rng(seed)
    V, width = schedule.vocab_size, width or schedule.vocab_size
    x = rng.integers(0, V - 1, shape)
    x = jnp.asarray(x + (x >= schedule.mask_id))
    z, _ = corruption.corrupt(jax.random.key(seed), schedule, x, t)
    return jnp.asarray((scale * rng.normal(size=(*shape, width))).astype(dtype)), x, z


@pytest.mark.parametrize("width", [13, 16])
@pytest.mark.parametrize("mix", MIXES)
def test_terms_and_gradients_equal_the_plain_form(mix, width):
    with jax.enable_x64(True):
        schedule, t = MIXES[mix](13, 4)
        schedule = jax.tree.map(np.float64, schedule)
        logits, x, z = batch(schedule, t, (4, 9), width)
        rng = np.random.default_rng(1)
        g_kl, g_is = jnp.asarray(rng.normal(size=(2, *x.shape)))

        def fused(logits):
            terms = losses.gidd_terms(schedule, logits, x, z, t)
            return (g_kl * terms.kl + g_is * terms.itakura_saito).sum(), terms

        def dense(logits):
            kl, itakura_saito = plain(schedule, logits, x, z, t)
            return (g_kl * kl + g_is * itakura_saito).sum(), (kl, itakura_saito)

        (_, terms), found = jax.jit(jax.value_and_grad(fused, has_aux=True))(logits)
        (_, (kl, itakura_saito)), wanted = jax.jit(jax.value_and_grad(dense, has_aux=True))(logits)
        np.testing.assert_allclose(terms.kl, kl, rtol=1e-10, atol=1e-13)
        np.testing.assert_allclose(terms.itakura_saito, itakura_saito, rtol=1e-8, atol=1e-13)
        np.testing.assert_allclose(terms.elbo, terms.elbo_weight * (kl + itakura_saito), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-11 * np.abs(wanted).max())


@pytest.mark.parametrize("t", [1e-4, 0.5, 1 - 1e-4])
@pytest.mark.parametrize("scale", [1.0, 15.0])
def test_float32_keeps_its_digits_at_a_large_vocabulary(t, scale):
    """V = 50,259: KL, IS and gradients in float32 against the plain form in float64, at the same rounded t."""
    V, t = 50_259, float(np.float32(t))
    with jax.enable_x64(True):
        exact = schedules.hybrid(V, 0, np.float64(0.2))
        logits, x, _ = batch(exact, t, (1, 6), scale=scale, dtype=np.float32)
        logits = logits.at[0, 1, x[0, 1]].add(40.0)  # One prediction is all but certain.
        z = jnp.array([[0, 0, x[0, 2], x[0, 3], 77, 78]])

        def total(schedule, logits, f):
            kl, itakura_saito = f(schedule, logits, x, z, jnp.asarray(t, logits.dtype))[:2]
            return (kl + itakura_saito).sum(), (kl, itakura_saito)

        wide = jax.jit(jax.grad(lambda l: total(exact, l, plain), has_aux=True))
        wanted, (kl, itakura_saito) = wide(logits.astype(np.float64))
    schedule = schedules.hybrid(V, 0, 0.2)
    single = [jnp.asarray(np.asarray(a)) for a in (logits, x.astype(np.int32), z.astype(np.int32))]

    def fused(logits):
        terms = losses.gidd_terms(schedule, logits, *single[1:], jnp.float32(t))
        return (terms.kl + terms.itakura_saito).sum(), terms

    found, terms = jax.jit(jax.grad(fused, has_aux=True))(single[0])
    assert terms.kl.dtype == jnp.float32
    np.testing.assert_allclose(terms.kl, kl, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(terms.itakura_saito, itakura_saito, rtol=2e-5, atol=2e-6)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5 * np.abs(wanted).max())


def test_head_fused_in_chunks_equals_the_loss_on_logits():
    rng = np.random.default_rng(0)
    schedule, t = schedules.hybrid(13, 12, 0.3), jnp.array([0.2, 0.5, 0.9])
    _, x, z = batch(schedule, t, (3, 7))
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 7, 8), (8, 16), (16,))]
    arrays = tuple(jnp.asarray(a) for a in arrays)
    valid = jnp.asarray(rng.random((3, 7)) < 0.8)

    def whole(features, head, bias):
        return losses.gidd_loss(schedule, features @ head + bias[None, None], x, z, t, "elbo", valid=valid)[0]

    def chunked(features, head, bias, chunk=4):
        logits = losses.LazyLogits(features, head, bias, chunk)
        return losses.gidd_loss(schedule, logits, x, z, t, "elbo", valid=valid)[0]

    wanted, gradients = jax.jit(jax.value_and_grad(whole, (0, 1, 2)))(*arrays)
    for chunk in (4, 21, 1000):
        found, same = jax.jit(jax.value_and_grad(lambda *a, c=chunk: chunked(*a, c), (0, 1, 2)))(*arrays)
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
        for a, b in zip(same, gradients, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())
    lazy, plain_logits = losses.LazyLogits(*arrays[:2]), arrays[0] @ arrays[1]
    for of in (lambda l: losses.gidd_loss(schedule, l, x, z, t)[0], lambda l: losses.masked_elbo(l, x, z, t, 12)):
        np.testing.assert_allclose(of(lazy), of(plain_logits), rtol=1e-5)


def test_memory_of_the_fused_head_does_not_grow_with_tokens_times_vocabulary():
    V, D = 4096, 8
    schedule = schedules.hybrid(V, V - 1, 0.2)

    def temporary(S, loss):
        cells = jax.ShapeDtypeStruct((1, S), jnp.int32)
        shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((1, S, D), (D, V), (V,))]
        step = jax.value_and_grad(lambda *a: loss(*a)[0], (0, 1, 2))
        return jax.jit(step).lower(*shapes, cells, cells).compile().memory_analysis().temp_size_in_bytes

    def fused(features, head, bias, x, z):
        return losses.gidd_loss(schedule, losses.LazyLogits(features, head, bias, 64), x, z, 0.5)

    def whole(features, head, bias, x, z):
        return losses.gidd_loss(schedule, features @ head + bias[None, None], x, z, 0.5)

    few, many = temporary(256, fused), temporary(1024, fused)
    assert many - few < 0.1 * (1024 - 256) * V * 4
    assert temporary(1024, whole) > 4 * many


def test_the_loss_on_logits_keeps_no_second_tensor_of_their_size(monkeypatch):
    """Temporary memory of value and gradient for given logits is a few blocks, not their size."""
    monkeypatch.setitem(divergence.BLOCKS, "cpu", 2**14)
    B, S, V = 2, 200, 2048
    schedule = schedules.hybrid(V, V - 1, 0.2)
    cells = jax.ShapeDtypeStruct((B, S), jnp.int32)
    step = jax.jit(jax.value_and_grad(lambda l, x, z: losses.gidd_loss(schedule, l, x, z, 0.5)[0]))
    compiled = step.lower(jax.ShapeDtypeStruct((B, S, V), jnp.float32), cells, cells).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 0.1 * B * S * V * 4


def test_blocks_give_what_the_whole_gives(monkeypatch):
    schedule, t = schedules.hybrid(9, 8, 0.3), jnp.array([0.2, 0.5, 0.9])
    logits, x, z = batch(schedule, t, dtype=np.float32)

    def both(logits):
        return jax.value_and_grad(lambda l: losses.gidd_loss(schedule, l, x, z, t)[0])(logits)

    wanted = jax.jit(lambda l: both(l))(logits)
    monkeypatch.setitem(divergence.BLOCKS, "cpu", 9 * 4)  # 15 cells: three whole blocks and one that overlaps.
    found = jax.jit(lambda l: both(l))(logits)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), found, wanted)


@pytest.mark.parametrize("width", [9, 12])
def test_a_cpu_leaves_out_what_an_accelerator_leaves_out(monkeypatch, width):
    schedule = schedules.hybrid(9, 8, 0.3)
    logits, x, z = batch(schedule, 0.5, width=width, dtype=np.float32)
    x = x.at[0, 0].set(schedule.mask_id)
    own = losses.gidd_terms(schedule, logits, x, z, 0.5)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.tree.map(np.testing.assert_array_equal, own, losses.gidd_terms(schedule, logits, x, z, 0.5))


def test_gradient_is_what_a_step_of_the_loss_shows():
    """Central differences along a random direction, through gidd_loss: nothing leaks into or out of the weights."""
    with jax.enable_x64(True):
        schedule, t = schedules.hybrid(9, 3, np.float64(0.3)), jnp.array([0.1, 0.5, 0.95])
        logits, x, z = batch(schedule, t)
        way = jnp.asarray(np.random.default_rng(5).normal(size=logits.shape))
        for weighting in ("dynamic", "paper", "clip", "elbo", "snr"):

            def loss(step, weighting=weighting):
                return losses.gidd_loss(schedule, logits + step * way, x, z, t, weighting)[0]

            apart = (loss(1e-5) - loss(-1e-5)) / 2e-5
            np.testing.assert_allclose(jax.grad(loss)(0.0), apart, rtol=1e-7)


def test_weightings_differ_where_they_should():
    schedule, t = schedules.hybrid(9, 8, 0.3), 0.3
    x, z = jnp.array([[1, 1, 1]]), jnp.array([[8, 1, 2]])
    weight = {
        name: np.asarray(losses.loss_weight(schedule, x, z, t, name))[0]
        for name in ("dynamic", "paper", "clip", "elbo")
    }
    raw = np.asarray(schedules.elbo_weight(schedule, x, z, t))[0]
    np.testing.assert_allclose(weight["elbo"], raw)
    np.testing.assert_allclose(weight["clip"], np.clip(raw, 0, 2))
    assert weight["dynamic"][[0, 2]].tolist() == weight["paper"][[0, 2]].tolist() == [2, 1]
    np.testing.assert_allclose(weight["paper"][1], schedules.paper_clean(schedule, t), rtol=1e-6)
    np.testing.assert_allclose(weight["dynamic"][1], schedule.dynamic_clean(t), rtol=1e-6)
    assert abs(weight["paper"][1] - weight["dynamic"][1]) > 0.01
    capped = losses.loss_weight(schedule, x, z, t, "dynamic", 0.5, 1.0)
    assert capped.tolist() == [[1.0, 0.5, 1.0]]


def test_only_valid_cells_count_and_their_gradient_alone_is_not_0():
    schedule, t = schedules.hybrid(9, 8, 0.3), 0.6
    logits, x, z = batch(schedule, t, dtype=np.float32)
    valid = jnp.arange(5)[None] < jnp.array([5, 2, 0])[:, None]
    loss = lambda l, x, z: losses.gidd_loss(schedule, l, x, z, t, "elbo", valid=valid)[0]  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(logits, x, z)
    terms = losses.gidd_terms(schedule, logits, x, z, t)
    np.testing.assert_allclose(value, np.asarray(terms.elbo)[np.asarray(valid)].mean(), rtol=1e-6)
    reached = np.abs(gradient).max(-1) > 0
    np.testing.assert_array_equal(reached, valid)
    np.testing.assert_allclose(loss(jnp.where(valid[..., None], logits, 1e4), x, jnp.where(valid, z, 8)), value)
    nothing = losses.gidd_loss(schedule, logits, x, z, t, valid=jnp.zeros_like(valid))
    assert float(nothing[0]) == 0 and all(bool(jnp.isfinite(m).all()) for m in jax.tree.leaves(nothing))


GUARDED = {
    "hybrid": schedules.hybrid(9, 8, 0.3),
    "hybrid masked": schedules.hybrid(9, 8, 0.0),
    "masked": schedules.linear(9, 8, 0.0),
    "uniform": schedules.linear(9, 8, 1.0),
    "snr masked": schedules.log_snr(9, 8, shift=-1000.0),
    "snr uniform": schedules.log_snr(9, 8, shift=1000.0),
}


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", GUARDED)
def test_nothing_a_batch_can_hold_makes_loss_or_gradient_infinite(name, dtype):
    """Both ends of time, impossible z, z = x = mask, logits of +-1e4 and -inf, every weighting."""
    schedule = GUARDED[name]
    x, z = jnp.array([[1, 1, 1, 8, 8, 8, 2, 3]] * 5), jnp.array([[8, 1, 4, 8, 1, 8, 2, 8]] * 5)
    logits = np.random.default_rng(0).normal(size=(5, 8, 9))
    logits[1] *= 1e4
    logits[2, :, 1] = -np.inf
    logits[3, :, 1] = 1e4
    logits[4, :, 2:8] = -np.inf
    logits = jnp.asarray(logits, dtype)
    ends = [0.0, 1e-4, 0.5, 1 - 1e-4, 1.0] if "snr" not in name else [-100.0, -9.0, 0.0, 9.0, 100.0]

    @jax.jit
    def both(t):
        def loss(logits, weighting):
            value, metrics = losses.gidd_loss(schedule, logits, x, z, t, weighting)
            return value, metrics

        return [
            jax.value_and_grad(loss, has_aux=True)(logits, weighting)
            for weighting in ("dynamic", "paper", "clip", "elbo", "snr")
        ]

    for t in ends:
        found = both(t)
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(found)), t
    terms = losses.gidd_terms(schedule, logits, x, z, 0.5)
    assert not np.asarray(terms.elbo)[:, 3:6].any()


def test_a_hopeless_prediction_still_learns_under_masked_noise():
    """x 100 nats behind in float32: the gradient is that of the cross-entropy, not 0."""
    logits = jnp.zeros((1, 1, 5)).at[0, 0, 1].set(-100.0)
    x, z = jnp.array([[1]]), jnp.array([[4]])
    gradient = jax.grad(lambda l: losses.masked_elbo(l, x, z, 0.5, 4).sum())(logits)
    np.testing.assert_allclose(gradient[0, 0], np.array([1 / 3, -1, 1 / 3, 1 / 3, 0]) / 0.5, rtol=1e-6)


def test_masked_elbo_is_the_linear_schedules_elbo_and_skips_unmasked_cells():
    schedule, t = schedules.linear(9, 2, 0.0), jnp.array([0.2, 0.5, 0.9])
    logits, x, z = batch(schedule, t, dtype=np.float32)
    found = losses.masked_elbo(logits, x, z, t, 2)
    np.testing.assert_allclose(found, losses.gidd_terms(schedule, logits, x, z, t).elbo, rtol=1e-5, atol=1e-6)
    hidden = np.asarray(logits.at[..., 2].set(-jnp.inf))
    log_probs = np.take_along_axis(hidden - np.log(np.exp(hidden).sum(-1, keepdims=True)), np.asarray(x)[..., None], -1)
    expected = np.where(z == 2, -log_probs[..., 0] / np.asarray(t)[:, None], 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_itakura_saito_is_0_at_equality_and_not_symmetric():
    a, b = jnp.array([1.0, 2.0, 0.5]), jnp.array([1.0, 1.0, 1.0])
    np.testing.assert_allclose(losses.itakura_saito(a, b), [0, 1 - np.log(2), -0.5 + np.log(2)], atol=1e-7)
    assert float(losses.itakura_saito(2.0, 1.0)) != pytest.approx(float(losses.itakura_saito(1.0, 2.0)))


def test_half_precision_logits_are_read_in_float32():
    schedule, t = schedules.hybrid(9, 8, 0.3), 0.6
    logits, x, z = batch(schedule, t, dtype=np.float32)
    rounded = logits.astype(jnp.bfloat16)
    half = losses.gidd_terms(schedule, rounded, x, z, t)
    assert half.elbo.dtype == jnp.float32
    for a, b in zip(half, losses.gidd_terms(schedule, rounded.astype(jnp.float32), x, z, t), strict=True):
        np.testing.assert_array_equal(a, b)
    gradient = jax.grad(lambda l: losses.gidd_loss(schedule, l, x, z, t)[0])(rounded)
    assert gradient.dtype == jnp.bfloat16


def test_one_program_serves_every_mix_and_rows_equal_runs_alone():
    traces = 0
    logits, x, z = batch(schedules.hybrid(9, 8, 0.3), 0.6, dtype=np.float32)

    def loss(p_uniform, t):
        nonlocal traces
        traces += 1
        return losses.gidd_loss(schedules.hybrid(9, 8, p_uniform), logits, x, z, t)[0]

    alone = jax.jit(jax.value_and_grad(lambda p, t: loss(p, t)))
    values = [alone(p, 0.6)[0] for p in (0.0, 0.2, 0.9)]
    assert traces == 1
    rows = jax.jit(jax.vmap(loss, (0, None)))(jnp.array([0.0, 0.2, 0.9]), 0.6)
    np.testing.assert_allclose(rows, jnp.stack(values), rtol=1e-6)


def test_mistakes_are_refused_in_one_line():
    schedule, t = schedules.hybrid(9, 8, 0.3), 0.6
    logits, x, z = batch(schedule, t, dtype=np.float32)
    with pytest.raises(InputError, match="8 columns"):
        losses.gidd_terms(schedule, logits[..., :8], x, z, t)
    with pytest.raises(InputError, match="'none' is not one of dynamic"):
        losses.loss_weight(schedule, x, z, t, "none")
