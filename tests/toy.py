"""Data small enough to enumerate, with its posterior: three cells of three tokens and a mask, 64 states, 27 clean."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax import schedules

V, MASK, S = 4, 3, 3
STATES = np.array(list(itertools.product(range(V), repeat=S)))
CLEAN = STATES[(STATES != MASK).all(1)]
DATA = np.random.default_rng(0).dirichlet(np.full(len(CLEAN), 0.4))
SCHEDULES = {
    "hybrid": schedules.hybrid(V, MASK, 0.3),
    "hybrid g2": schedules.hybrid(V, MASK, 0.3, 2.0),
    "linear": schedules.linear(V, MASK, 0.5),
    "masked": schedules.linear(V, MASK, 0.0),
    "snr uniform": schedules.log_snr(V, MASK, shift=1000.0),
    "snr balanced": schedules.log_snr(V, MASK),
}


def posterior(schedule, z, t, given=(False, False, False)):
    """P(x_i = v | the OTHER cells of z, t) under the data distribution, [N,3,4]; ``given`` cells were never noised.

    The reverse step weighs z_i itself, so a belief that had already seen z_i would count it twice. Masks tell nothing:
    for them it makes no difference.
    """
    z, given = jnp.asarray(z), jnp.asarray(given)[None]
    keep, noise = schedules.over_cells(schedules.alpha(schedule, t)), schedules.mass_at(schedule, t, z)
    keep, noise = jnp.where(given, 1.0, keep), jnp.where(given, 0.0, noise)
    q = keep[:, None] * (jnp.asarray(CLEAN)[None] == z[:, None]) + noise[:, None]
    others = jnp.stack([q[..., 1] * q[..., 2], q[..., 0] * q[..., 2], q[..., 0] * q[..., 1]], -1)
    joint = jnp.asarray(DATA, q.dtype)[None, :, None] * others
    of_x = joint / jnp.maximum(joint.sum(1, keepdims=True), 1e-30)
    return jnp.einsum("zcs,csv->zsv", of_x, jax.nn.one_hot(jnp.asarray(CLEAN), V, dtype=q.dtype))


def ideal(schedule, given=(False, False, False), bend=1.0):
    """The denoiser that knows the posterior, its log-probabilities multiplied by ``bend``."""
    return lambda z, t: bend * jnp.log(jnp.maximum(posterior(schedule, z, t, given), 1e-30))
