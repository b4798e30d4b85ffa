"""Attention at the lengths of boards, forward and with its backward: ours plain and coupled, Flax's, JAX's own."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from benchmarks.flops import Rates, Work
from benchmarks.harness import Compiled, Pace, Row, compiled, paired, roofline
from gidd_jax.replica import attention, fused, paired_attention

Attend = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
G = 0.5


class Sizes(NamedTuple):
    """Sequences, heads and lengths; the width of a head."""

    batch: int
    heads: int
    lengths: tuple[int, ...]
    widths: tuple[int, ...]


SCALES = {
    "full": Sizes(64, 4, (81, 128, 256), (32,)),
    "quick": Sizes(4, 2, (81,), (32,)),
    "tiny": Sizes(1, 1, (4,), (8,)),
}
ACCELERATOR = Sizes(1024, 4, (81, 128, 256), (32, 64, 128))
"""The full size on anything but a CPU."""


def by_cell(attend: Attend) -> Attend:
    """An attention over [B,S,H,Dh], as one over [B,H,S,Dh], the layout of ours."""
    return lambda *qkv: attend(*(x.swapaxes(1, 2) for x in qkv)).swapaxes(1, 2)


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """Each beside ours in turn; the coupled pair is twice two attentions, beside two calls of ours on as many."""
    cpu = jax.default_backend() == "cpu"
    sizes = ACCELERATOR if sizes is SCALES["full"] and not cpu else sizes
    others = {"flax": by_cell(nn.dot_product_attention), "jax.nn": by_cell(jax.nn.dot_product_attention)}
    for dtype in ("float32",) if cpu else ("float32", "bfloat16"):
        half = dtype == "bfloat16" and jax.default_backend() == "gpu"
        rivals = others | ({"cudnn": fused} if half else {})
        for length in sizes.lengths:
            for width in sizes.widths:
                yield from _at(sizes, length, width, dtype, rivals, pace, rates)


def _at(
    sizes: Sizes, length: int, width: int, dtype: str, rivals: dict[str, Attend], pace: Pace, rates: Rates
) -> Iterator[Row]:
    shape = (2, sizes.batch, sizes.heads, length, width)
    pair = [jax.random.normal(key, shape).astype(dtype) for key in jax.random.split(jax.random.key(0), 3)]
    one = [x[0] for x in pair]
    exact = attention(*(x.astype(jnp.float32) for x in one))
    for way, factor, lift in (("forward", 1, _forward), ("forward + backward", 3, _backward)):
        params = {"S": length, "Dh": width, "B": sizes.batch, "H": sizes.heads, "dtype": dtype, "way": way}
        made = {name: compiled(lift(attend), *one) for name, attend in {"ours": attention, **rivals}.items()}
        flops = factor * 4 * sizes.batch * sizes.heads * length**2 * width
        floor = roofline(Work(flops, factor * 4 * one[0].nbytes), rates)
        ours = None
        for name, attend in rivals.items():
            ours, theirs, ratio = paired(partial(made["ours"].call, *one), partial(made[name].call, *one), pace)
            note = f"differs from ours in float32 by {_apart(attend, one, exact):.2g} at most"
            yield Row(f"attention/{name}", params, theirs, made[name], floor_s=floor, note=note, flops=flops)
            yield Row("attention/ours", params, ours, made["ours"], name, ratio, None, floor, flops=flops)
        yield _coupled(params, lift, pair, made["ours"], one, pace, 4 * flops, 4 * floor)


def _coupled(
    params: dict, lift: Callable, pair: list, plain: Compiled, one: list, pace: Pace, flops: float, floor: float
) -> Row:
    coupled = compiled(lift(lambda *qkv: paired_attention(*qkv, G)), *pair)

    def four() -> list:
        return [plain.call(*one) for _ in range(4)]

    ours, _, ratio = paired(lambda: coupled.call(*pair), four, pace)
    return Row("attention/coupled pair", params, ours, coupled, "four plain", ratio, None, floor, flops=flops)


def _forward(attend: Attend) -> Attend:
    return attend


def _backward(attend: Attend) -> Callable:
    return jax.grad(lambda *qkv: jnp.square(attend(*qkv).astype(jnp.float32)).sum(), argnums=(0, 1, 2))


def _apart(attend: Attend, qkv: list, exact: jax.Array) -> float:
    return float(jnp.abs(attend(*qkv).astype(jnp.float32) - exact).max())
