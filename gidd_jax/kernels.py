"""Which kernel computes attention on a GPU: the einsum, or cuDNN's where it may and wins; decided by a race."""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gidd_jax.config import RunConfig, setting
from gidd_jax.errors import InputError
from gidd_jax.replica import KERNELS, Attend

HEATS = 7
WIN = 1.05
SCORES = 2**26
"""Scores of the race, at most: 256 MiB of float32."""


class Shape(NamedTuple):
    """Of the queries of one replica's step: sequences, heads, length, width of a head."""

    batch: int
    heads: int
    length: int
    width: int


class Verdict(NamedTuple):
    """The kernel, and why."""

    kernel: str
    reason: str


def attention_setting() -> Any:
    """The field ``attention_kernel`` of a Config; "auto" stays where there was nothing to race."""
    help_ = "einsum, cudnn (a GPU's, bfloat16, no dropout), or auto: the faster one, found by a race as a sweep begins"
    return setting("auto", help_, choices=tuple(KERNELS))


def check(config: Any) -> None:
    """Raises InputError for a kernel that the config rules out."""
    if config.attention_kernel == "cudnn" and not _allowed(config):
        raise InputError("--attention-kernel cudnn: needs --dtype bfloat16 and no dropout")


def settled(config: RunConfig, shape: Callable[[], Shape], platform: str) -> RunConfig:
    """``config`` with the winner in place of "auto", said on stderr; as it is without a GPU or where cuDNN may not."""
    if getattr(config, "attention_kernel", "") != "auto" or platform != "gpu" or not _allowed(config):
        return config
    of = shape()
    fits = max(1, SCORES // (of.batch * of.heads * of.length**2))
    found = raced(of, min(config.width, fits), jnp.dtype(config.dtype))
    print(f"gidd-jax: attention by {found.kernel}: {found.reason}", file=sys.stderr)
    return dataclasses.replace(config, attention_kernel=found.kernel)


def raced(shape: Shape, rows: int, dtype: jnp.dtype) -> Verdict:
    """Attention and its gradient of ``rows`` replicas, by both kernels in turn, HEATS times; inputs N(0, 1).

    cuDNN wins where it runs, gives the same bits twice (a sweep that goes on must be the one that was never stopped),
    is no further from float32 than twice the einsum, and takes less than 1 / WIN of its time by the median.
    """
    inputs = jax.random.normal(jax.random.key(0), (rows, 4, *shape)).astype(dtype)
    ours, theirs = (_with_gradient(KERNELS[name]) for name in ("einsum", "cudnn"))
    try:
        first, second = theirs(inputs), theirs(inputs)
    except Exception as error:  # Whatever cuDNN, XLA or the memory refuse, the einsum may still do.
        return Verdict("einsum", f"cuDNN refuses ({str(error).splitlines()[0][:120]})")
    if not bool((first == second).all()):
        return Verdict("einsum", "cuDNN's gradients are not the same twice")
    exact = ours(inputs.astype(jnp.float32))
    away, usual = (float(jnp.abs(found - exact).max()) for found in (first, ours(inputs)))
    if not away <= 2 * usual:
        return Verdict("einsum", f"cuDNN is {away:.2g} from float32, the einsum {usual:.2g}")
    ratio = statistics.median(_seconds(ours, inputs) / _seconds(theirs, inputs) for _ in range(HEATS))
    return Verdict("cudnn" if ratio > WIN else "einsum", f"cuDNN is {ratio:.2f} times as fast here")


def _allowed(config: Any) -> bool:
    return config.dtype != "float32" and not getattr(config, "dropout", 0)


def _with_gradient(attend: Attend) -> Callable[[jax.Array], jax.Array]:
    """(q, k, v and the cotangent, stacked) -> the output and the three gradients, stacked, in float32."""

    def of_row(inputs: jax.Array) -> jax.Array:
        q, k, v, cotangent = inputs
        out, back = jax.vjp(attend, q, k, v)
        return jnp.stack([out, *back(cotangent)]).astype(jnp.float32)

    return jax.jit(jax.vmap(of_row))


def _seconds(run: Callable[[jax.Array], jax.Array], inputs: jax.Array) -> float:
    begun = time.perf_counter()
    jax.block_until_ready(run(inputs))
    return time.perf_counter() - begun
