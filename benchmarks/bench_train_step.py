"""One training step of the posts' two-head model: beside its own matrix products, PyTorch, and what dropout costs."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks import flops, subjects, torch_twin
from benchmarks.flops import Product, Rates, Work
from benchmarks.harness import Compiled, Pace, Row, compiled, paired, roofline
from gidd_jax.models import layers
from gidd_jax.studies import sudoku

PRODUCTS = {"forward": "bmk,bkn->bmn", "to the input": "bmn,bkn->bmk", "to the weights": "bmk,bmn->bkn"}
"""A product and the two that its backward takes."""


class Sizes(NamedTuple):
    """The model and its steps a call; sides of the mask that dropout is timed on; whether torch.compile is tried.

    A call asks the system anew for the memory of its temporaries, on a CPU a quarter of a step. A sweep makes seconds
    of steps a call, so several are timed at once, and beside them one a call.
    """

    subject: subjects.Subject
    steps: int
    mask: tuple[int, int]
    torch_compile: bool


SCALES = {
    "full": Sizes(subjects.POSTS, 16, (5184, 512), True),
    "quick": Sizes(subjects.POSTS.but(d_model=32, layers=1, batch=16), 2, (1024, 128), False),
    "tiny": Sizes(subjects.TINIEST.but(trunk="shared", norm="post", given=False), 2, (16, 8), False),
}


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """Without dropout beside the bare products and a step a call, with it beside without; PyTorch; the mask alone."""
    dtypes = ("float32",) if jax.default_backend() == "cpu" else ("float32", "bfloat16")
    for dtype in dtypes:
        yield from _ours(sizes, dtype, pace, rates)
    yield from _theirs(sizes, pace)
    yield from _mask(sizes, pace, rates)


def _ours(sizes: Sizes, dtype: str, pace: Pace, rates: Rates) -> Iterator[Row]:
    made = {rate: subjects.rows(sizes.subject.but(dropout=rate, dtype=dtype), 1) for rate in (0.0, 0.1)}
    config = made[0.0].config
    work = subjects.work(made[0.0])
    shape = {"parameters": _parameters(made[0.0]), "batch": config.batch, "dtype": dtype}
    singly = subjects.advancing(_afresh(made[0.0]), 1)
    run = {rate: subjects.advancing(each, sizes.steps) for rate, each in made.items()}
    products, n = flops.two_head_products(subjects.model(config), config.batch), sizes.steps
    once, floor = bare_products(products, dtype, rates)

    def bare() -> list:
        return [once() for _ in range(n)]

    def one_by_one() -> Any:
        for _ in range(n - 1):
            jax.block_until_ready(singly())
        return singly()

    ours, theirs, ratio = paired(run[0.0], bare, pace)
    note = "the products of forward and backward alone, one after another"
    yield Row("train_step/bare products", shape, theirs.each(n), floor_s=floor, note=note, flops=work["flops"])
    plain = shape | {"dropout": 0.0}
    yield Row("train_step/step", plain, ours.each(n), made[0.0].advance, "bare products", ratio, None, floor, **work)
    ours, single, ratio = paired(run[0.0], one_by_one, pace)
    note = "the memory of its temporaries asked for at every step"
    yield Row("train_step/a step a call", plain, single.each(n), made[0.0].advance, floor_s=floor, note=note, **work)
    many = plain | {"steps a call": n}
    yield Row("train_step/step", many, ours.each(n), made[0.0].advance, "a step a call", ratio, None, floor, **work)
    dropped, _, ratio = paired(run[0.1], run[0.0], pace)
    named = shape | {"dropout": 0.1}
    yield Row("train_step/step", named, dropped.each(n), made[0.1].advance, "no dropout", ratio, None, floor, **work)


def _theirs(sizes: Sizes, pace: Pace) -> Iterator[Row]:
    torch = torch_twin.find()
    if torch is None:
        yield Row("train_step/torch", {"batch": sizes.subject.config.batch}, note="torch is not installed")
        return
    for rate in (0.1, 0.0):
        made = subjects.rows(sizes.subject.but(dropout=rate), 1)
        shape, config = subjects.model(made.config), made.config
        answer = subjects.host_data(sudoku, config)["answer"][: config.batch]
        twin = torch_twin.build(torch, shape)
        apart = torch_twin.difference(torch, twin, shape, answer)
        kinds = {"eager": lambda model: model} | ({"compiled": torch.compile} if sizes.torch_compile and rate else {})
        for kind, made_of in kinds.items():
            params, work = {"batch": config.batch, "dropout": rate, "dtype": "float32"}, subjects.work(made)
            try:
                step = torch_twin.training(torch, made_of(twin), shape, answer)

                def steps(step: Callable[[], Any] = step) -> list:
                    return [step() for _ in range(sizes.steps)]

                ours, theirs, ratio = paired(subjects.advancing(_afresh(made), sizes.steps), steps, pace)
            except Exception as error:
                # What its compiler lacks on a machine is not known beforehand, and no reason to lose the other rows.
                reason = f"{type(error).__name__}: {error}".splitlines()[0]
                yield Row(f"train_step/torch {kind}", params, note=f"did not run: {reason[:120]}")
                continue
            note = f"torch {torch.__version__}, {torch.get_num_threads()} threads; logits differ by {apart:.2g} at most"
            yield Row(f"train_step/torch {kind}", params, theirs.each(sizes.steps), note=note, **work)
            yield Row("train_step/step", params, ours.each(sizes.steps), made.advance, f"torch {kind}", ratio, **work)


def _mask(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """Dropout alone: ours, and the mask of 32-bit uniforms that `flax.linen.Dropout` draws."""
    key, x, rate = jax.random.key(0), jnp.ones(sizes.mask), 0.1

    def of_uniforms(key: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)

    ours = compiled(lambda key, x: layers.dropout(key, x, rate), key, x)
    theirs = compiled(of_uniforms, key, x)
    first, second, ratio = paired(lambda: ours.call(key, x), lambda: theirs.call(key, x), pace)
    shape = {"mask": "x".join(map(str, sizes.mask))}
    floor = roofline(Work(0, 2 * x.nbytes), rates)
    yield Row("train_step/dropout of uniforms", shape, second, theirs, floor_s=floor, note="as flax.linen.Dropout")
    yield Row("train_step/dropout", shape, first, ours, "of uniforms", ratio, None, floor)


def bare_products(products: list[Product], dtype: str, rates: Rates) -> tuple[Callable[[], Any], float]:
    """A call that makes all these products and those of their backward, and their floor in seconds."""
    made: list[tuple[Compiled, tuple[jax.Array, ...], int]] = []
    work, size = [], jnp.dtype(dtype).itemsize
    for batch, m, k, n, count in products:
        x, y, z = (jnp.ones((batch, *sides), dtype) for sides in ((m, k), (k, n), (m, n)))
        for subscripts, pair in zip(PRODUCTS.values(), ((x, y), (z, y), (x, z)), strict=True):
            made.append((compiled(lambda a, b, s=subscripts: jnp.einsum(s, a, b), *pair), pair, count))
        moved = size * batch * (m * k + k * n + m * n)
        work += [Work(2 * batch * m * k * n, moved)] * 3 * count

    def call() -> Any:
        return [each.call(*pair) for each, pair, count in made for _ in range(count)][-1]

    return call, roofline(work, rates)


def _afresh(made: subjects.Rows) -> subjects.Rows:
    """The same rows from a copy of their start, which a run gives away."""
    return made._replace(replicas=jax.tree.map(jnp.copy, made.replicas))


def _parameters(made: subjects.Rows) -> int:
    blocks = made.place.per_device * made.config.width
    return sum(leaf.size for leaf in jax.tree.leaves(made.replicas.state.params)) // blocks
