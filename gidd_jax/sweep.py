"""Grids of Hypers -> trained replicas and one table: the host's side of a sweep.

The host only decides when: it dispatches calls of the compiled programs, reads metrics one call behind, and hands
states to a writer thread at checkpoints. What comes out depends on the rows alone.
"""

import concurrent.futures
import dataclasses
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from gidd_jax import checkpoint, ledger, memory, metrics
from gidd_jax.config import resolved, to_json
from gidd_jax.errors import InputError
from gidd_jax.grid import grid, row_ids, rows, take
from gidd_jax.program import SLOTS, Layout, Programs, Replica, layout, programs
from gidd_jax.progress import Progress, quiet
from gidd_jax.types import Tree

__all__ = ["SweepResult", "grid", "rows", "run", "table"]

CALL_SECONDS = 2.0
"""A call is made about this long, so that the bar moves and Ctrl-C is heard; results do not depend on it."""


class SweepResult(NamedTuple):
    """What a sweep leaves: the tidy table, the final Replica of each row ({row: host tree}), and where it lies."""

    table: pd.DataFrame
    states: dict[str, Replica]
    directory: pathlib.Path | None


class Interrupted(Exception):
    """Ctrl-C was heard, and everything up to ``step`` is saved."""


def run(
    study: Any,
    groups: Sequence[tuple[Any, Any]],
    out: str | pathlib.Path | None = None,
    progress: Callable[[int, str], Progress] = quiet,
    devices: Sequence[jax.Device] | None = None,
) -> SweepResult:
    """Trains every row of every group -> table and states; with ``out``, resumes whatever is there.

    ``groups`` is a list of (config, hypers): one compile each. Rows already finished in ``out`` are not trained again,
    interrupted ones go on from their last checkpoint, new ones are added. The final table is bitwise the one of an
    uninterrupted run. Raises InputError for a directory, config or data that does not fit, ``Interrupted`` on Ctrl-C.
    """
    if out is None:
        return _run(study, groups, None, progress, devices)
    directory = pathlib.Path(out)
    with ledger.locked(directory):
        return _run(study, groups, directory, progress, devices)


def table(directory: str | pathlib.Path) -> pd.DataFrame:
    """metrics.parquet of a sweep; raises InputError where there is none."""
    path = pathlib.Path(directory) / "metrics.parquet"
    if not path.exists():
        raise InputError(f"{directory}: no finished sweep here (no metrics.parquet)")
    return pd.read_parquet(path)


def _run(study: Any, groups: Sequence[tuple[Any, Any]], directory: Any, progress: Callable, devices: Any) -> Any:
    if not groups:
        raise InputError("nothing to run: no (config, hypers) group")
    devices = devices or jax.local_devices()
    record = {"groups": []} if directory is None else ledger.opened(directory, study)
    jobs = []
    for index, (config, hypers) in enumerate(groups):
        known = record["groups"][index] if index < len(record["groups"]) else None
        settings = resolved(config, known and known["config"], devices[0].platform)
        data, fingerprint = study.load(settings)
        if known is None:
            known = {"config": {}, "fingerprint": fingerprint, "cohorts": []}
            record["groups"].append(known)
        else:
            ledger.check_identity(directory, known, settings, fingerprint)
        known["config"] = to_json(settings)
        jobs.append((index, settings, hypers, data))
    if directory is not None:
        ledger.write(directory, record)

    tables, states = [], {}
    with _Interrupt() as interrupt:
        for index, settings, hypers, data in jobs:
            group, store = record["groups"][index], f"g{index}"
            data = jax.device_put(data)
            _enrol(study, settings, group, store, hypers, data, devices)
            if directory is not None:
                ledger.write(directory, record)
            for cohort in group["cohorts"]:
                part, done = _train(study, settings, cohort, store, data, directory, progress, devices, interrupt)
                tables += part
                states |= done
    if directory is not None:
        tables = metrics.read_parts(directory / "metrics")
    whole = finished(study, metrics.ordered(tables))
    if directory is not None:
        metrics.write_part(directory / "metrics.parquet", [whole])
    return SweepResult(whole, states, directory)


def finished(study: Any, whole: pd.DataFrame) -> pd.DataFrame:
    """The table with what a study derives from all rows together (the benefit over zero coupling, say)."""
    derive = getattr(study, "derive", None)
    return metrics.ordered([whole, derive(whole)]) if derive else whole


def _enrol(study: Any, config: Any, group: dict, store: str, hypers: Any, data: Tree, devices: Any) -> None:
    """Adds the rows no cohort has yet as new cohorts, each small enough for the devices' memory."""
    known = {name for cohort in group["cohorts"] for name in row_ids(ledger.cohort_hypers(study, cohort))}
    new = take(hypers, [i for i, name in enumerate(row_ids(hypers)) if name not in known])
    count = len(new[0])
    most = memory.rows_at_once(study, config, new, data, devices) if count else 0
    for first in range(0, count, most or 1):
        part = take(new, range(first, min(first + most, count)))
        group["cohorts"].append(ledger.new_cohort(f"{store}-{len(group['cohorts'])}", part))


def _train(
    study: Any, config: Any, cohort: dict, group: str, data: Tree, directory: Any, progress: Any, devices: Any, stop: Any
) -> tuple[list[pd.DataFrame], dict[str, Replica]]:
    """One cohort from its last checkpoint to the end -> its tables (in memory only without a directory), its states."""
    hypers = ledger.cohort_hypers(study, cohort)
    identities = row_ids(hypers)
    place = layout(len(identities), config.width, devices)
    edges = programs(study, config, place.mesh)
    writer = _Writer(study, config, group, cohort["name"], hypers, identities, place, directory)
    blocks = jax.tree.map(place.place, hypers)
    shared = jax.device_put(data, place.replicated)
    replicas, step = writer.restore(edges, blocks, shared)
    if step >= config.steps:
        return writer.tables, writer.rows(replicas)
    total = config.steps * len(identities) * study.per_step(config)
    with progress(total, study.unit) as bar, writer:
        bar.update(step * len(identities) * study.per_step(config))
        bar.note(f"step {step}/{config.steps}, compiling")
        if step == 0:
            writer.evaluated(0, 0, edges.evaluate(place.counts, (replicas, blocks), shared, jnp.int32(0)))
        pace, previous = _Pace(config.log_every), None
        while step < config.steps:
            last = min(step + pace.steps, *(_next(step, n) for n in (config.eval_every, config.checkpoint_every)))
            last = min(last, config.steps)
            replicas, sums = edges.advance(
                place.counts, replicas, blocks, shared, jnp.int32(step), jnp.int32(last)
            )
            writer.advanced(step, last, sums)
            if last % config.eval_every == 0 or last == config.steps:
                for split in range(len(study.splits) if last == config.steps else 1):
                    writer.evaluated(last, split, edges.evaluate(place.counts, (replicas, blocks), shared, jnp.int32(split)))
            if previous is not None:
                jax.block_until_ready(previous)
            previous = sums
            bar.update((last - step) * len(identities) * study.per_step(config))
            bar.note(f"step {last}/{config.steps}")
            pace.called(last - step)
            step = last
            if step % config.checkpoint_every == 0 or step == config.steps or stop.heard():
                writer.checkpoint(step, replicas)
            if stop.heard() and step < config.steps:
                raise Interrupted(f"stopped at step {step} of {config.steps}; run the same command to go on")
    return writer.tables, writer.rows(replicas)


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every


class _Pace:
    """Steps to ask of the next call, so that it takes about CALL_SECONDS."""

    def __init__(self, log_every: int):
        self.log_every, self.slots, self.since = log_every, 1, time.monotonic()
        self.calls = 0

    @property
    def steps(self) -> int:
        return self.slots * self.log_every

    def called(self, steps: int) -> None:
        now = time.monotonic()
        rate = steps / max(now - self.since, 1e-3)
        self.since, self.calls = now, self.calls + 1
        if self.calls > 1:  # the first call compiles
            self.slots = int(np.clip(CALL_SECONDS * rate / self.log_every, 1, SLOTS))


class _Interrupt:
    """Hears the first Ctrl-C and lets the call in flight finish; a second one interrupts at once."""

    def __enter__(self) -> "_Interrupt":
        self.event = threading.Event()
        self.handled = threading.current_thread() is threading.main_thread()
        if self.handled:
            self.before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self.handled:
            signal.signal(signal.SIGINT, self.before)

    def _hear(self, *_: object) -> None:
        if self.event.is_set():
            raise KeyboardInterrupt
        self.event.set()

    def heard(self) -> bool:
        return self.event.is_set()
