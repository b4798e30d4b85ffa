"""What a sweep costs beside its steps: the table, the bar, and checkpoints, in the call's way and behind its back."""

import itertools
import json
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import subjects
from benchmarks.flops import Rates
from benchmarks.harness import Pace, Ratio, Row, Sample, once, sample
from gidd_jax import checkpoint, progress, sweep
from gidd_jax.writer import Writer


class Sizes(NamedTuple):
    """Rows of a whole sweep, its steps, checkpoints and runs; a model and numbers of rows whose state is saved."""

    subject: subjects.Subject
    rows: int
    steps: int
    checkpoints: int
    runs: int
    saved: subjects.Subject
    counts: tuple[int, ...]


LEAST = {"eval_boards": 1, "decode_boards": 1, "decode": (81,)}
"""As little evaluation as there can be: what it takes is the user's choice."""

SCALES = {
    "full": Sizes(subjects.TOWERS.but(**LEAST), 32, 160, 4, 2, subjects.POSTS, (1, 16)),
    "quick": Sizes(subjects.SPINNERS, 4, 64, 4, 1, subjects.SPINNERS, (64,)),
    "tiny": Sizes(subjects.SPINNERS, 2, 64, 4, 1, subjects.SPINNERS, (2,)),
}


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """A whole sweep beside the same steps and evaluations alone; then states saved and read."""
    yield from _whole(sizes)
    for count in sizes.counts:
        yield from _saved(sizes.saved, count, pace)


def _whole(sizes: Sizes) -> Iterator[Row]:
    """Work alone, a sweep, work alone again: what the sweep took beyond the mean of its neighbours is its own."""
    every = sizes.steps // sizes.checkpoints
    cadence = {"steps": sizes.steps, "eval_every": sizes.steps, "checkpoint_every": every, "log_every": every // 2}
    made = subjects.rows(sizes.subject.but(**cadence), sizes.rows)
    study, config, hypers = made.study, made.config, sweep.grid(made.study, seed=range(sizes.rows))
    alone = subjects.advancing(made, every)
    begun = made.edges.start(made.place.counts, made.hypers, made.data), made.hypers

    def evaluations() -> Any:
        # As the sweep makes them: at first, and of both splits at the end.
        return [made.edges.evaluate(made.place.counts, begun, made.data, jnp.int32(split)) for split in (0, 0, 1)]

    def work_alone() -> tuple[float, float]:
        steps = once(lambda: [alone() for _ in range(sizes.checkpoints)][-1])
        return steps, once(evaluations)

    work_alone()
    whole, bare, saving = [], [work_alone()], []
    for _ in range(sizes.runs):
        with tempfile.TemporaryDirectory() as out:
            sweep.run(study, [(config, hypers)], out, progress.bar, devices=jax.local_devices()[:1])
            lines = [json.loads(line) for line in (pathlib.Path(out) / "timing.jsonl").read_text().splitlines()]
        whole += [line["seconds"] for line in lines if line["event"] == "trained"]
        saving += [line["seconds"] for line in lines if line["event"] == "checkpoint"]
        bare.append(work_alone())
    between = (np.asarray(bare[:-1]) + np.asarray(bare[1:])) / 2
    shares = sorted((between.sum(axis=1) / whole).tolist())
    ratio = Ratio(shares[len(shares) // 2], shares[0], shares[-1])
    params = {"R": sizes.rows, "steps": sizes.steps, "checkpoints": sizes.checkpoints}
    work = subjects.work(made, sizes.rows * sizes.steps)
    steps, evaluating = (Sample(tuple(each), 1) for each in between.T.tolist())
    yield Row("sweep/steps alone", params, steps, made.advance, **work)
    yield Row("sweep/evaluations alone", params, evaluating, note="three, of as few boards as there can be")
    note = "table, checkpoints and bar with it; the ratio is the share of its time that steps and evaluations are"
    yield Row("sweep/sweep.run", params, Sample(tuple(whole), 1), None, "work alone", ratio, note=note, **work)
    note = "table part and state, written by a thread while the steps go on"
    yield Row("sweep/checkpoint behind its back", params, Sample(tuple(saving), 1), note=note)


def _saved(subject: subjects.Subject, count: int, pace: Pace) -> Iterator[Row]:
    made = subjects.rows(subject, count)
    hypers = sweep.grid(made.study, seed=range(count))
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(made.study, made.config, "g0", "bench", hypers, made.place, pathlib.Path(folder))
        host = writer._host(made.replicas)
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(host))
        params = {"R": count, "MB": round(size / 1e6, 1)}
        work = {"items": size / 1e6, "unit": "MB"}
        copied = sample(lambda: writer._host(made.replicas), pace)
        note = "the state copied to the host: all that training waits for"
        yield Row("sweep/checkpoint, blocking", params, copied, made.advance, note=note, **work)
        numbers = itertools.count(1)
        written = sample(lambda: checkpoint.save(writer.checkpoints, next(numbers), host, writer.meta), pace)
        yield Row("sweep/checkpoint, written", params, written, note="flushed, with sha256 of every file", **work)
        path = checkpoint.newest(writer.checkpoints, writer.meta)[0]
        read = sample(lambda: checkpoint.restore(path, host), pace)
        yield Row("sweep/checkpoint, read", params, read, note="verified apart", **work)
        writer.thread.shutdown()
