"""How a number comes about: compile apart from run, warm-up, repetitions, medians with their spread, floors.

A benchmark is a file bench_NAME.py with SCALES, a dict from "full", "quick" and "tiny" to its sizes, and
``rows(sizes, pace, rates)``, which yields a Row as soon as it is measured. Times are wall seconds, memory is in bytes.
"""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.flops import Rates, Work


class Pace(NamedTuple):
    """How long measuring may take: repetitions, and the least seconds one lasts (calls are repeated to fill them)."""

    repetitions: int
    least: float


LONG = ("concepts", "sampling", "train_step")
"""Benchmarks that compile several models: they start first where processes share the work."""
PROBES = {"full": (2048, 2**28), "quick": (512, 2**24)}
"""The product and the array by which the machine's rates are measured."""
PACES = {"full": Pace(7, 0.3), "quick": Pace(3, 0.01), "tiny": Pace(5, 0.0)}


class Sample(NamedTuple):
    """Seconds of one call in each repetition, a mean over ``inner`` calls each."""

    seconds: tuple[float, ...]
    inner: int

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.quantile(self.seconds, [0.25, 0.75])
        return float(low), float(high)

    def each(self, count: float) -> "Sample":
        """Seconds of one of the ``count`` equal things a call does."""
        return Sample(tuple(seconds / count for seconds in self.seconds), self.inner)


class Ratio(NamedTuple):
    """Time of one over time of the other, repetition by repetition: median and quartiles."""

    median: float
    low: float
    high: float


class Compiled(NamedTuple):
    """A jitted function made ready for one set of shapes, and what that took."""

    call: Callable[..., Any]
    lower_s: float
    compile_s: float
    temp_bytes: int | None
    trace_s: float = 0.0


class Row(NamedTuple):
    """One line of results; what was not measured is None.

    ``ratio`` is the time of ``against`` over the time of this row: above 1 this one is faster. ``memory_ratio`` is this
    row's temporary memory over that of ``against``. ``floor_s`` is the least time the machine needs for the work.
    ``flops`` are the operations of what ``sample`` times, ``items`` how many of ``unit`` it makes.
    """

    name: str
    params: dict[str, Any]
    sample: Sample | None = None
    compiled: Compiled | None = None
    against: str = ""
    ratio: Ratio | None = None
    memory_ratio: float | None = None
    floor_s: float | None = None
    note: str = ""
    flops: float | None = None
    items: float | None = None
    unit: str = ""

    @property
    def roofline_share(self) -> float | None:
        """The floor over the median: 1 where the machine can do no better."""
        return self.floor_s / self.sample.median if self.floor_s and self.sample else None


@contextlib.contextmanager
def hasty() -> Iterator[None]:
    """Inside, a process that has not started its backend compiles without optimising: to see that all of it runs."""
    before = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{before or ''} --xla_backend_optimization_level=0"
    try:
        yield
    finally:
        os.environ.pop("XLA_FLAGS")
        if before is not None:
            os.environ["XLA_FLAGS"] = before


def compiled(function: Callable[..., Any], *args: Any) -> Compiled:
    """Traces, lowers and compiles ``function`` for ``args`` (arrays or their shapes), each step timed.

    A function that is jitted already keeps what it donates.
    """
    jitted = function if hasattr(function, "trace") else jax.jit(function)
    marks = [time.perf_counter()]
    step = jitted.trace(*args)
    for onward in ("lower", "compile"):
        marks.append(time.perf_counter())
        step = getattr(step, onward)()
    marks.append(time.perf_counter())
    trace_s, lower_s, compile_s = np.diff(marks).tolist()
    return Compiled(step, lower_s, compile_s, step.memory_analysis().temp_size_in_bytes, trace_s)


def sample(call: Callable[[], Any], pace: Pace, clock: Callable[[], float] = time.perf_counter) -> Sample:
    """Times ``call()``, its outputs waited for at every call, after a warm-up that also sets the inner loop."""
    inner = _inner(call, pace, clock)
    return Sample(tuple(_lap(call, inner, clock) for _ in range(pace.repetitions)), inner)


def once(call: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call, not warmed up: for what takes long, or is to be timed as it comes."""
    return _lap(call, 1, clock)


def paired(
    first: Callable[[], Any],
    second: Callable[[], Any],
    pace: Pace,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Sample, Sample, Ratio]:
    """Both samples, taken in turn (A B A B ...) so that they meet the same load, and the ratio second / first."""
    calls = (first, second)
    inner = [_inner(call, pace, clock) for call in calls]
    laps = np.array([[_lap(c, n, clock) for c, n in zip(calls, inner, strict=True)] for _ in range(pace.repetitions)])
    samples = [Sample(tuple(map(float, column)), n) for column, n in zip(laps.T, inner, strict=True)]
    low, middle, high = np.quantile(laps[:, 1] / laps[:, 0], [0.25, 0.5, 0.75])
    return *samples, Ratio(float(middle), float(low), float(high))


def _inner(call: Callable[[], Any], pace: Pace, clock: Callable[[], float]) -> int:
    jax.block_until_ready(call())
    warm = _lap(call, 1, clock)
    return max(1, int(np.ceil(pace.least / max(warm, 1e-9))))


def _lap(call: Callable[[], Any], inner: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(inner):
        jax.block_until_ready(call())
    return (clock() - start) / inner


@functools.cache
def measured_rates(size: int, copied: int) -> Rates:
    """What this machine does: FLOP/s of a float32 product of size x size, bytes/s of an array read and written.

    Best of the repetitions, because it stands for a limit. The default precision of the backend holds: on a GPU that
    allows TF32 and on a TPU the product is not one of full float32.
    """
    pace = Pace(7, 0.05)
    square, flat = jnp.ones((size, size)), jnp.ones(copied // 4)
    product, add = compiled(jnp.matmul, square, square), compiled(lambda x: x + 1.0, flat)
    seconds = min(sample(lambda: product.call(square, square), pace).seconds)
    copy = min(sample(lambda: add.call(flat), pace).seconds)
    return Rates(2 * size**3 / seconds, 2 * copied / copy)


def roofline(work: Work | list[Work], rates: Rates) -> float:
    """Least seconds for work at these rates: each part takes its products' or its bytes' time, whichever is longer."""
    parts = work if isinstance(work, list) else [work]
    return sum(max(part.flops / rates.flops, part.bytes / rates.bytes) for part in parts)
