"""Grids of Hypers -> trained replicas and one table: the host's side of a sweep.

The host only decides when: it dispatches calls of the compiled programs, reads metrics one call behind, and hands
states to a writer thread at checkpoints. What comes out depends on the rows alone.
"""

import concurrent.futures
import dataclasses
import itertools
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from gidd_jax import checkpoint, kernels, ledger, memory, metrics
from gidd_jax.config import from_json, resolved, to_json
from gidd_jax.errors import InputError
from gidd_jax.grid import grid, row_ids, rows, take
from gidd_jax.program import SLOTS, Layout, Programs, Replica, layout, programs
from gidd_jax.progress import Progress, quiet
from gidd_jax.types import Tree
from gidd_jax.writer import Writer

__all__ = ["Host", "Interrupted", "SweepResult", "evaluate", "grid", "rows", "run"]

CALL_SECONDS = 2.0
"""A call is made about this long, so that the bar moves and Ctrl-C is heard; results do not depend on it."""


class SweepResult(NamedTuple):
    """What a sweep leaves: the tidy table, each row's final Replica on the host by (group, row), and where it lies."""

    table: pd.DataFrame
    states: dict[tuple[str, str], Replica]
    directory: pathlib.Path | None


class Host(NamedTuple):
    """Which of several machines this is; they share the rows of a sweep and its directory, and nothing else."""

    index: int = 0
    count: int = 1


class Interrupted(Exception):
    """Ctrl-C was heard, and everything up to ``step`` is saved."""


def run(
    study: Any,
    groups: Sequence[tuple[Any, Any]],
    out: str | pathlib.Path | None = None,
    progress: Callable[[int, str], Progress] = quiet,
    devices: Sequence[jax.Device] | None = None,
    host: Host | None = None,
    profile: str | pathlib.Path | None = None,
) -> SweepResult:
    """Trains every row of every group -> table and states; with ``out``, resumes whatever is there.

    ``groups`` is a list of (config, hypers): one compile each. Rows already finished in ``out`` are not trained again,
    interrupted ones go on from their last checkpoint, new ones are added. The final table is bitwise the one of an
    uninterrupted run. Raises InputError for a directory, config or data that does not fit, ``Interrupted`` on Ctrl-C.

    Several hosts make the same call on a directory they share, each with its ``host``: each trains and writes its own
    rows, no host waits for another, and the first one writes the table when all are done.

    With ``profile``, a folder, the second training call of each cohort is traced into it by ``jax.profiler``.
    """
    host = host or Host()
    if out is None:
        return _run(study, groups, None, progress, devices, host, profile)
    directory = pathlib.Path(out)
    with ledger.locked(directory, host.index):
        return _run(study, groups, directory, progress, devices, host, profile)


def _run(
    study: Any,
    groups: Sequence[tuple[Any, Any]],
    directory: Any,
    progress: Callable,
    devices: Any,
    host: Host,
    profile: Any,
) -> SweepResult:
    if not groups:
        raise InputError("nothing to run: no (config, hypers) group")
    if not 0 <= host.index < host.count:
        raise InputError(f"host {host.index} of {host.count}: hosts are numbered from 0")
    devices = devices or jax.local_devices()
    if directory is None and host.count > 1:
        raise InputError("several hosts need a directory they share: give --out")
    if directory is None:
        record = {"groups": []}
    elif host.index == 0:
        record = ledger.opened(directory, study, devices)
    else:
        record = ledger.awaited(directory, [set(row_ids(hypers)) for _, hypers in groups], study, devices)
    jobs = []
    for index, (config, hypers) in enumerate(groups):
        known = record["groups"][index] if index < len(record["groups"]) else None
        settings = resolved(config, known and known["config"], devices[0].platform)
        if profile and settings.steps <= settings.log_every:
            raise InputError(
                f"nothing to profile: {settings.steps} steps are one call; give more than the {settings.log_every} of "
                "--log-every"
            )
        data, fingerprint = study.load(settings)
        if check := getattr(study, "check", None):
            check(hypers, settings, data)
        if known is None:
            if of := getattr(study, "attention_shape", None):
                settings = kernels.settled(settings, partial(of, settings, data), devices[0].platform)
            known = {"config": {}, "fingerprint": fingerprint, "cohorts": []}
            record["groups"].append(known)
        else:
            ledger.check_identity(directory, known, settings, fingerprint)
        known["config"] = to_json(settings)
        jobs.append((index, settings, hypers, data))

    ready: dict[str, _Job] = {}
    for index, settings, hypers, data in jobs:
        cohorts = record["groups"][index]["cohorts"]
        ready |= _enrol(study, settings, cohorts, f"g{index}", hypers, data, devices, host.count)
    if directory is not None and host.index == 0:
        ledger.write(directory, record)
    for name, job in ready.items():
        ledger.log_time(directory, event="compile", cohort=name, rows=job.place.rows, seconds=job.compile_seconds)

    tables, states = [], {}
    with _Interrupt() as stop:
        for index, settings, _, data in jobs:
            for cohort in record["groups"][index]["cohorts"]:
                if cohort.get("host", 0) % host.count != host.index:
                    continue
                known = ledger.cohort_hypers(study, cohort)
                job = ready.pop(cohort["name"], None) or _prepare(study, settings, known, data, devices)
                writer = Writer(study, settings, f"g{index}", cohort["name"], known, job.place, directory)
                if profile:
                    job = job._replace(edges=job.edges._replace(advance=_profiled(job.edges.advance, profile)))
                states |= _train(study, settings, job, writer, progress, stop)
                tables += writer.tables
    if directory is not None:
        if host.index == 0:
            ledger.wait_for_all(directory, record)
        # Parts may have been written before the study had all of its fields.
        usual = study.Hyper._field_defaults
        tables = [part.assign(**{**usual, **part}) for part in metrics.read_parts(directory / "metrics")]
    configs = [from_json(study.Config, group["config"]) for group in record["groups"]]
    whole = _with_derived(study, metrics.ordered(tables), configs)
    if directory is not None and host.index == 0:
        metrics.write_part(directory / "metrics.parquet", [whole])
    return SweepResult(whole, states, directory)


def evaluate(
    study: Any, directory: pathlib.Path, split: str, devices: Sequence[jax.Device] | None = None, **settings: Any
) -> pd.DataFrame:
    """The rows of a sweep measured again on ``split`` with some ``settings`` replaced -> a table like the sweep's.

    Where the settings name other ``data``, every board of it is used and the split is called "given". Raises InputError
    where a row has no sound checkpoint, or rows stand at different steps.
    """
    tables, configs, reached, devices = [], [], set(), devices or jax.local_devices()
    whole = "data" in settings
    for index, group in enumerate(ledger.read(directory)["groups"]):
        recorded = from_json(study.Config, group["config"])
        config = dataclasses.replace(recorded, **(study.unfiltered if whole else {}) | settings)
        data, _ = study.load(config, whole=True) if whole else study.load(config)
        for cohort in group["cohorts"]:
            hypers = ledger.cohort_hypers(study, cohort)
            job = _prepare(study, config, hypers, data, devices)
            writer = Writer(study, recorded, f"g{index}", cohort["name"], hypers, job.place, directory)
            found = checkpoint.newest(writer.checkpoints, writer.meta)
            if found is None:
                raise InputError(f"{directory}: cohort {cohort['name']} has no checkpoint yet; finish the sweep first")
            replicas = writer.load(found[0], job.edges, job.hypers, job.data)
            where = jnp.int32(study.splits.index(split))
            result = job.edges.evaluate(job.place.counts, (replicas, job.hypers), job.data, where)
            tables.append(writer.lines([found[1]], "given" if whole else split, result[0], False))
            reached.add(found[1])
        configs.append(config)
    if len(reached) > 1:
        raise InputError(
            f"{directory}: its rows stand at steps {min(reached)} to {max(reached)}; finish the sweep first"
        )
    return _with_derived(study, metrics.ordered(tables), configs)


def evaluate_model(
    study: Any, config: Any, hyper: Any, split: str, step: int | None, whole: bool = False
) -> pd.DataFrame:
    """One model, the ``config.init_from`` of ``step`` steps, measured on ``split`` -> a table of one row.

    With ``whole`` every board of its data is used and the split is called "given". Steps that are not known (None), and
    what was seen in them, are -1.
    """
    config = resolved(config, None, jax.default_backend())
    hypers = rows(study, **{name: [np.asarray(value).item()] for name, value in hyper._asdict().items()})
    data, _ = study.load(config, whole=True) if whole else study.load(config)
    job = _prepare(study, config, hypers, data, jax.local_devices()[:1])
    replicas = job.edges.start(job.place.counts, job.hypers, job.data)
    found = job.edges.evaluate(job.place.counts, (replicas, job.hypers), job.data, jnp.int32(study.splits.index(split)))
    writer = Writer(study, config, "g0", "model", hypers, job.place, None)
    table = writer.lines([-1 if step is None else step], "given" if whole else split, found[0], False)
    return metrics.ordered([table if step is not None else table.assign(boards=-1)])


def _with_derived(study: Any, table: pd.DataFrame, configs: list[Any]) -> pd.DataFrame:
    """The table with what a study derives from several rows at once (the benefit over zero coupling, say)."""
    derive = getattr(study, "derive", None)
    return metrics.ordered([table, derive(table, configs)]) if derive else table


class _Job(NamedTuple):
    """Rows placed on devices, their programs, and what every call shares."""

    place: Layout
    edges: Programs
    hypers: Any
    data: Tree
    compile_seconds: float = 0.0
    spare: bool = False  # whether the state fits twice


def _prepare(study: Any, config: Any, hypers: Any, data: Tree, devices: Sequence[jax.Device]) -> _Job:
    place = layout(len(hypers[0]), config.width, devices)
    blocks = jax.tree.map(place.place, hypers)
    return _Job(place, programs(study, config, place.mesh), blocks, jax.device_put(data, place.replicated))


def _enrol(
    study: Any,
    config: Any,
    cohorts: list[dict],
    group: str,
    hypers: Any,
    data: Tree,
    devices: Any,
    hosts: int,
) -> dict[str, _Job]:
    """Adds the rows that no cohort has yet -> what was compiled for it, by the cohort's name.

    New rows are shared out evenly among the hosts, and cut into cohorts that fit the devices' memory.
    """
    known = {name for cohort in cohorts for name in row_ids(ledger.cohort_hypers(study, cohort))}
    new = [i for i, name in enumerate(row_ids(hypers)) if name not in known]
    if not new:
        return {}
    shares = [share.tolist() for share in np.array_split(new, hosts)]
    job = _prepare(study, config, take(hypers, shares[0]), data, devices)
    start = time.monotonic()
    replicas = jax.eval_shape(job.edges.start, job.place.counts, job.hypers, job.data)
    step = jax.ShapeDtypeStruct((), jnp.int32)
    placed = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=job.place.sharding), replicas)
    lowered = job.edges.advance.lower(job.place.counts, placed, job.hypers, job.data, step, step)
    with concurrent.futures.ThreadPoolExecutor(1) as aside:
        compiling = aside.submit(lowered.compile)
        begin = job.edges.start.lower(job.place.counts, job.hypers, job.data).compile()
        call = compiling.result()
    seconds = round(time.monotonic() - start, 3)
    most = memory.rows_at_once(config, job.place, call, replicas)
    mine = f"{group}-{len(cohorts)}"
    for host, share in enumerate(shares):
        for first in range(0, len(share), most):
            part = take(hypers, share[first : first + most])
            cohorts.append(ledger.new_cohort(f"{group}-{len(cohorts)}", part, host))
    if most < len(shares[0]):
        return {}
    edges, spare = job.edges._replace(start=begin, advance=call), memory.spare(config, job.place, call, replicas)
    return {mine: job._replace(edges=edges, compile_seconds=seconds, spare=spare)}


def _train(
    study: Any, config: Any, job: _Job, writer: Writer, progress: Any, stop: "_Interrupt"
) -> dict[tuple[str, str], Replica]:
    """One cohort from its last checkpoint to the end -> the final Replica of each row."""
    counts, edges, per_step = job.place.counts, job.edges, job.place.rows * study.per_step(config)
    replicas, step = writer.restore(edges, job.hypers, job.data)
    if step >= config.steps:
        return writer.states(replicas)

    def evaluate(split: int, replicas: Replica) -> None:
        found = edges.evaluate(counts, (replicas, job.hypers), job.data, np.int32(split))
        writer.evaluated(step, study.splits[split], found)

    with progress(config.steps * per_step, study.unit) as bar, writer:
        bar.update(step * per_step)
        bar.note(f"step {step}/{config.steps}, compiling")
        if step == 0 and not job.spare:
            evaluate(0, replicas)
        pace, behind, start, first = _Pace(), (None, 0), time.monotonic(), step
        while step < config.steps:
            slots = (step // config.log_every + pace.slots) * config.log_every
            last = min(slots, _next(step, config.eval_every), _next(step, config.checkpoint_every), config.steps)
            replicas, sums = edges.advance(counts, replicas, job.hypers, job.data, np.int32(step), np.int32(last))
            if step == 0 and job.spare:
                # The first steps do not wait for it to compile. They took the rows they began with: here are the same.
                jax.block_until_ready(sums)
                compiling = time.monotonic()
                evaluate(0, edges.start(counts, job.hypers, job.data))
                start += time.monotonic() - compiling
            writer.advanced(step, last, sums)
            done, step = last - step, last
            if step % config.eval_every == 0 or step == config.steps:
                for split in range(len(study.splits) if step == config.steps else 1):
                    evaluate(split, replicas)
            # Wait for the call before this one only: the device always has the next one queued.
            jax.block_until_ready(behind[0])
            bar.update(behind[1] * per_step)
            bar.note(f"step {step - done}/{config.steps}")
            behind = sums, done
            pace.called(done, config.log_every)
            stopping = stop.heard() and step < config.steps
            if step % config.checkpoint_every == 0 or step == config.steps or stopping:
                writer.checkpoint(step, replicas)
            if stopping:
                raise Interrupted(f"stopped at step {step} of {config.steps}; run the same command to go on")
        jax.block_until_ready(behind[0])
        bar.update(behind[1] * per_step)
        bar.note(f"step {step}/{config.steps}")
    seconds = time.monotonic() - start
    rate = {"seconds": round(seconds, 3), f"{study.unit}_per_second": round((step - first) * per_step / seconds, 1)}
    ledger.log_time(writer.directory, event="trained", cohort=writer.name, steps=step - first, **rate)
    return writer.states(replicas)


def _profiled(function: Callable, directory: str | pathlib.Path) -> Callable:
    """``function``, whose second call is traced from dispatch to end, alone on the device: the first may compile."""
    calls = itertools.count()

    def call(*args: Any) -> Any:
        if next(calls) != 1:
            return function(*args)
        jax.block_until_ready(args)
        with jax.profiler.trace(directory):
            return jax.block_until_ready(function(*args))

    return call


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every


class _Pace:
    """Log intervals to ask of the next call, so that it takes about CALL_SECONDS."""

    def __init__(self) -> None:
        self.slots, self.since = 1, time.monotonic()

    def called(self, steps: int, log_every: int) -> None:
        now = time.monotonic()
        wanted = CALL_SECONDS * steps / max(now - self.since, 1e-3) / log_every
        # At most doubled: the first calls return before their work is done, or after a compile.
        self.slots = int(np.clip(wanted, 1, min(2 * self.slots, SLOTS)))
        self.since = now


class _Interrupt:
    """Hears the first Ctrl-C and lets the call in flight finish; a second one is for whoever heard them before."""

    def __enter__(self) -> "_Interrupt":
        self.event = threading.Event()
        self.handled = threading.current_thread() is threading.main_thread()
        if self.handled:
            self.before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self.handled:
            signal.signal(signal.SIGINT, self.before)

    def _hear(self, *signalled: Any) -> None:
        if self.event.is_set():
            os.write(2, b"\n")  # The bar's line has no end yet.
            before = self.before if callable(self.before) else signal.default_int_handler
            before(*signalled)
        self.event.set()

    def heard(self) -> bool:
        return self.event.is_set()
