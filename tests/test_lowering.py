"""What trains, scores and samples lowers for GPU and TPU too, on a machine that has neither."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import corruption, losses, program, sampling, schedules
from gidd_jax.config import resolved
from gidd_jax.grid import grid
from gidd_jax.models import dit, two_head
from gidd_jax.studies import sudoku

PLATFORMS = ("cuda", "tpu")
DTYPES = ("float32", "bfloat16")
VOCAB, SCHEDULE = 17, schedules.hybrid(17, 16, 0.2)


def lowered(function, *args, platform):
    """The program for a platform, as text; what has no lowering there raises."""
    jitted = function if hasattr(function, "trace") else jax.jit(function)
    return jitted.trace(*args).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_two_head_training_program(platform):
    """The call of a sweep, with dropout, coupled towers and symmetries: all that a training step may use."""
    sizes = {"data": "4x4", "d_model": 8, "layers": 1, "heads": 2, "batch": 2, "dropout": 0.1, "dtype": "bfloat16"}
    config = resolved(sudoku.Config(**sizes), None, platform)
    place = program.layout(3, config.width, jax.devices()[:1])
    edges = program.programs(sudoku, config, place.mesh)
    hypers = jax.tree.map(place.place, grid(sudoku, seed=range(3)))
    data = sudoku.load(config)[0]
    replicas = jax.eval_shape(edges.start, place.counts, hypers, data)
    step = jnp.int32(0)
    text = lowered(edges.advance, place.counts, replicas, hypers, data, step, step, platform=platform)
    products = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    assert any("xbf16>" in line for line in products) and "callback" not in text


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("form", ["logits", "head"])
def test_the_gidd_loss(platform, form):
    x = jnp.asarray(np.arange(8).reshape(2, 4))
    z = jnp.asarray(np.arange(8)[::-1].reshape(2, 4))
    t = jnp.array([0.3, 0.8])

    def loss(features, kernel):
        guess = features @ kernel if form == "logits" else losses.LazyLogits(features, kernel, chunk=4)
        return losses.gidd_loss(SCHEDULE, guess, x, z, t)[0]

    text = lowered(jax.grad(loss, (0, 1)), jnp.ones((2, 4, 8)), jnp.ones((8, VOCAB)), platform=platform)
    assert "stablehlo.dot_general" in text and "callback" not in text


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ancestral_sampling_of_text(platform, dtype):
    config = dit.DitConfig(VOCAB, 1, 8, 2, cond=4, max_length=4, dtype=dtype)
    times = sampling.time_grid(SCHEDULE, 3)

    def sampled(key, params):
        z = corruption.prior(key, SCHEDULE, (2, 4), times[0])
        denoise = partial(dit.apply, params, config)
        return sampling.ancestral(jax.random.fold_in(key, 1), SCHEDULE, denoise, z, times)

    text = lowered(sampled, jax.random.key(0), dit.shapes(config), platform=platform)
    assert ("bf16" in text) == (dtype == "bfloat16") and "callback" not in text


@pytest.mark.parametrize("platform", PLATFORMS)
def test_k_pass_decoding(platform):
    config = two_head.TwoHeadConfig(16, 4, 2, 2, d_model=8, layers=1, heads=2, d_ff=8)
    question = jnp.zeros((2, 16), jnp.int32)

    def decoded(key, params, question):
        def heads(z, t):
            out = two_head.apply(params, config, z, question > 0, t, two_head.Couplings())
            return out.jump[-1], out.holding[-1]

        return sampling.k_pass(heads, question, key, 1, 4).board

    text = lowered(decoded, jax.random.key(0), two_head.shapes(config), question, platform=platform)
    assert "stablehlo.while" in text and "callback" not in text
