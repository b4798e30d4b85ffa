"""Sampling at a real size is one compiled call: nothing goes to the host and back, whatever the sampler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gidd_jax import corruption, sampling, schedules

ROWS, LENGTH, STEPS, V = 64, 256, 64, 12
SCHEDULE = schedules.hybrid(V, V - 1, 0.2)
PROMPT = 16


def denoise(z, t):
    """Logits that like the token on the left plus one: cheap, and not constant."""
    left = jnp.roll(z, 1, axis=1)
    return 3.0 * jax.nn.one_hot((left + 1) % (V - 1), V) - t[:, None, None]


SAMPLERS = {
    "ancestral": lambda key, z, times, kept: sampling.ancestral(key, SCHEDULE, denoise, z, times, kept),
    "adaptive": lambda key, z, times, kept: sampling.adaptive(key, SCHEDULE, denoise, z, times, 4, protected=kept),
    "masked": lambda key, z, times, kept: sampling.masked(key, SCHEDULE, denoise, z, times, kept)[0],
    "self_correct": lambda key, z, times, kept: sampling.self_correct(
        key, SCHEDULE, denoise, z, STEPS, 4, protected=kept
    )[0],
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "masked" else pytest.mark.slow) for n in SAMPLERS])
def test_64_sequences_of_256_tokens_in_64_steps_are_one_call(name):
    traces = []

    @jax.jit
    def run(key, times):
        traces.append(name)
        start_key, key = jax.random.split(key)
        kept = jnp.broadcast_to(jnp.arange(LENGTH)[None] < PROMPT, (ROWS, LENGTH))
        if name == "masked":
            z = jnp.full((ROWS, LENGTH), V - 1)
        else:
            z = corruption.prior(start_key, SCHEDULE, (ROWS, LENGTH), times[0])
        return SAMPLERS[name](key, jnp.where(kept, 0, z), times, kept)

    keys = [jax.random.key(seed) for seed in range(2)]
    times = jax.block_until_ready(sampling.time_grid(SCHEDULE, STEPS))
    compiled = run.lower(keys[0], times).compile()
    with jax.transfer_guard("disallow"):
        found = [jax.block_until_ready(compiled(key, times)) for key in keys]
    assert traces == [name]
    assert all(tokens.shape == (ROWS, LENGTH) and (tokens[:, :PROMPT] == 0).all() for tokens in found)
    assert (np.asarray(found[0]) != np.asarray(found[1])).any()
    if name in ("ancestral", "masked"):
        assert all((tokens != V - 1).all() for tokens in found)
