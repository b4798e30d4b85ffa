"""Gaussian diffusion of real-valued data: how much signal is left at each step, and one step back.

    x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps,   abar_t = prod_{s <= t} (1 - beta_s),   t = 0 ... T-1.

Sources: DDPM arXiv 2006.11239; DDIM arXiv 2010.02502; respacing and learned variance arXiv 2102.09672, as DiT
(arXiv 2212.09748) uses them. Step functions take abar as scalars or one a row, and are jit- and vmap-safe.
"""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from gidd_jax.errors import InputError

STEPS = 1000


def linear_abar(steps: int = STEPS) -> Float[np.ndarray, "T"]:
    """abar [T] of betas that rise linearly from 1e-4 to 2e-2 for 1000 steps, scaled by 1000 / T for others."""
    scale = 1000 / steps
    return np.cumprod(1 - np.linspace(scale * 1e-4, scale * 2e-2, steps))


def respaced(sections: str, steps: int = STEPS) -> np.ndarray:
    """The steps, rising, that a sampler of fewer steps visits, int64 [S]; their abar is that of the full schedule.

    "100": 100 steps from the first to the last, a stride of 999/99 rounded (half to even). "10,20,30": so many in each
    equal part of the schedule. "ddim100": the even stride that gives 100 steps, from 0. Raises InputError where there
    is none. Source: DiT's own respacing, which these reproduce.
    """
    try:
        if sections.startswith("ddim"):
            wanted = int(sections.removeprefix("ddim"))
            strides = [s for s in range(1, steps) if len(range(0, steps, s)) == wanted]
            return np.arange(0, steps, strides[0])
        counts = [int(part) for part in sections.split(",")]
    except (ValueError, IndexError):
        raise InputError(f"{sections!r} of {steps} steps: give a number, several with commas, or ddimN") from None
    found, start = [], 0
    for part, count in enumerate(counts):
        size = steps // len(counts) + (part < steps % len(counts))
        if not 1 <= count <= size:
            raise InputError(f"{sections!r}: {count} steps cannot be taken out of {size}")
        stride, at = ((size - 1) / (count - 1) if count > 1 else 1), 0.0
        for _ in range(count):
            found.append(start + round(at))
            at += stride  # Added up, not multiplied: the two round differently.
        start += size
    return np.array(found)


def noised(x: Float[Array, "*shape"], eps: Float[Array, "*shape"], abar: ArrayLike) -> Float[Array, "*shape"]:
    """x_t of clean x and normal eps."""
    abar = trailing(jnp.asarray(abar, x.dtype), x.ndim)
    return jnp.sqrt(abar) * x + jnp.sqrt(1 - abar) * eps


def clean(x: Float[Array, "*shape"], eps: Float[Array, "*shape"], abar: ArrayLike) -> Float[Array, "*shape"]:
    """The x_0 that eps, taken for the noise in x_t, leaves."""
    abar = trailing(jnp.asarray(abar, x.dtype), x.ndim)
    return (x - jnp.sqrt(1 - abar) * eps) / jnp.sqrt(abar)


def ddim_step(
    x: Float[ArrayLike, "*shape"],
    eps: Float[ArrayLike, "*shape"],
    noise: Float[ArrayLike, "*shape"],
    abar: Float[ArrayLike, "*batch"] | int,
    abar_next: Float[ArrayLike, "*batch2"] | int,
    eta: Float[ArrayLike, ""] | int,
) -> Float[Array, "*shape"]:
    """x one step cleaner: sqrt(abar') x0 + sqrt(1 - abar' - sigma^2) eps + sigma noise (DDIM, eq. 12).

    sigma = eta sqrt((1 - abar') / (1 - abar)) sqrt(1 - abar / abar'); eta = 0 adds no noise, 1 is DDPM with the
    posterior variance. abar_next = 1 is the last step: x0, without noise.

    >>> x0, eps = jnp.array([2.0]), jnp.array([-1.0])
    >>> x = jnp.sqrt(0.25) * x0 + jnp.sqrt(0.75) * eps
    >>> diffusion.ddim_step(x, eps, jnp.zeros(1), abar=0.25, abar_next=1, eta=0).round(5).tolist()  # x0 again
    [2.0]
    """
    x, eps, noise = jnp.asarray(x), jnp.asarray(eps), jnp.asarray(noise)
    now, then = (trailing(jnp.asarray(a, x.dtype), x.ndim) for a in (abar, abar_next))
    sigma = eta * jnp.sqrt((1 - then) / (1 - now)) * jnp.sqrt(1 - now / then)
    # Rounding can leave less than nothing at eta = 1.
    rest = jnp.sqrt(jnp.maximum(1 - then - jnp.square(sigma), 0.0))
    return jnp.sqrt(then) * clean(x, eps, abar) + rest * eps + sigma * noise


def ddpm_step(
    x: Float[Array, "*shape"],
    eps: Float[Array, "*shape"],
    noise: Float[Array, "*shape"],
    abar: ArrayLike,
    abar_next: ArrayLike,
    share: Float[Array, "*shape"] | float = -1.0,
) -> Float[Array, "*shape"]:
    """x one step cleaner by ancestral sampling with a variance between the posterior's (share -1) and beta (share 1).

    log variance = (share + 1)/2 log beta + (1 - share)/2 log(beta (1 - abar') / (1 - abar)), beta = 1 - abar / abar':
    the learned variance of arXiv 2102.09672, ``share`` what the model gives beside eps. No noise at abar_next = 1.
    """
    now, then = (trailing(jnp.asarray(a, x.dtype), x.ndim) for a in (abar, abar_next))
    beta = 1 - now / then
    mean = jnp.sqrt(then) * beta / (1 - now) * clean(x, eps, abar)
    mean += jnp.sqrt(now / then) * (1 - then) / (1 - now) * x
    last = then >= 1
    least = jnp.where(last, 1.0, beta * (1 - then) / (1 - now))
    log_variance = (share + 1) / 2 * jnp.log(beta) + (1 - share) / 2 * jnp.log(least)
    return mean + jnp.where(last, 0.0, jnp.exp(log_variance / 2)) * noise


def trailing(value: Array, ndim: int) -> Array:
    """A scalar as it is; else one value per entry of the leading axes, with axes of length 1 after them."""
    return value.reshape(*value.shape, *(1,) * (ndim - value.ndim)) if value.ndim else value
