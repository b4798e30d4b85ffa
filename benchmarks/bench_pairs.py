"""Pairs of images: a denoising step of replicas that read each other, and Gram matrices that tell their modes."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.flops import Rates
from benchmarks.harness import Pace, Row, compiled, paired
from gidd_jax.models import dit_image
from gidd_jax.models.dit_image import DitImageConfig
from gidd_jax.sampling import replicas

G = 0.5


class Sizes(NamedTuple):
    """The model, pairs in a batch, and steps of the path along which differences are watched."""

    shape: DitImageConfig
    pairs: int
    steps: int


SCALES = {
    "full": Sizes(DitImageConfig(32, 3, layers=8, d_model=128, heads=4), 16, 4),
    "quick": Sizes(DitImageConfig(8, layers=2, d_model=32, heads=2), 4, 2),
    "tiny": Sizes(DitImageConfig(4, layers=2, d_model=8, heads=2), 2, 2),
}
ACCELERATOR = Sizes(DitImageConfig(32, 4, layers=28, d_model=1152, heads=16, learned_variance=True), 32, 10)
"""The full size on anything but a CPU: DiT-XL/2 at 256 pixels."""


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """A coupled step beside the same images uncoupled; then Gram matrices as layers pass, beside all states stored."""
    sizes = ACCELERATOR if sizes is SCALES["full"] and jax.default_backend() != "cpu" else sizes
    shape, M = sizes.shape, sizes.pairs
    params = dit_image.init(jax.random.key(0), shape)
    first = replicas.start(jax.random.key(1), (M, shape.channels, shape.size, shape.size), 0.5)
    named = {"pairs": M, "S": shape.side**2, "D": shape.d_model, "L": shape.layers}
    made = {"params": dit_image.parameter_count(shape)} | named
    items = {"items": 2 * M, "unit": "images"}

    def denoise(params: dict, x: jax.Array, g: float | None) -> jax.Array:
        return dit_image.apply(params, shape, x, 500, shape.classes, g).eps

    flat = first.reshape(2 * M, *first.shape[2:])
    alone, together = (
        compiled(partial(denoise, g=None), params, flat),
        compiled(partial(denoise, g=G), params, first),
    )
    ours, theirs, ratio = paired(partial(together.call, params, first), partial(alone.call, params, flat), pace)
    yield Row("pairs/uncoupled step", made, theirs, alone, note="the same images, none reads another", **items)
    yield Row("pairs/coupled step", made, ours, together, "uncoupled", ratio, note="twice the attention", **items)
    yield from _watched(sizes, params, first, named, pace)


def _watched(sizes: Sizes, params: dict, first: jax.Array, named: dict, pace: Pace) -> Iterator[Row]:
    shape, along = sizes.shape, replicas.path(str(sizes.steps))

    def denoise(params: dict, x: jax.Array, t: jax.Array, watch, beside) -> tuple[jax.Array, tuple]:
        guess, seen = dit_image.watched(params, shape, x, t, shape.classes, G, watch, beside)
        return guess.eps, seen

    def streamed(params: dict, first: jax.Array) -> jax.Array:
        return replicas.watched(partial(denoise, params), first, along).grams

    def stored(params: dict, first: jax.Array) -> jax.Array:
        look = lambda tokens, _: replicas.difference(tokens)  # noqa: E731
        V, _ = replicas.followed(partial(denoise, params), first, along, look, None)
        with jax.default_matmul_precision("highest"):
            return jnp.einsum("tlmsd,lnsd->tlmn", V, V[0])

    ours, theirs = compiled(streamed, params, first), compiled(stored, params, first)
    apart = float(jnp.abs(ours.call(params, first) - theirs.call(params, first)).max())
    first_time, second_time, ratio = paired(
        partial(ours.call, params, first), partial(theirs.call, params, first), pace
    )
    named = named | {"steps": sizes.steps}
    memory = ours.temp_bytes / theirs.temp_bytes if ours.temp_bytes and theirs.temp_bytes else None
    yield Row("pairs/Gram of stored states", named, second_time, theirs, note="all differences kept, then multiplied")
    yield Row(
        "pairs/Gram streamed",
        named,
        first_time,
        ours,
        "of stored states",
        ratio,
        memory,
        note=f"with cosine bands besides; Gram matrices differ by {apart:.2g} at most",
    )
