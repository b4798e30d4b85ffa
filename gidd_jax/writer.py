"""What a cohort leaves on disk: parts of the table and checkpoints, written behind the training's back."""

import concurrent.futures
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np
import pandas as pd

from gidd_jax import checkpoint, files, ledger, metrics
from gidd_jax.config import unusual
from gidd_jax.grid import row_ids
from gidd_jax.program import Layout, Programs, Replica
from gidd_jax.types import Tree


class Writer:
    """Gathers one cohort's metrics and commits them with its checkpoints: first the part, then the state.

    One thread does both in order, so a checkpoint on disk always has its part beside it. Leaving the ``with`` block
    waits for it. Without a directory the tables stay in memory.
    """

    def __init__(self, study: Any, config: Any, group: str, name: str, hypers: Any, place: Layout, directory: Any):
        self.study, self.config, self.group, self.place, self.directory = study, config, group, place, directory
        self.name, self.hypers, self.identities = name, hypers, row_ids(hypers)
        self.meta = {"study": study.name, "rows": self.identities, "config": _meta(unusual(config))}
        self.checkpoints = directory and directory / "checkpoints" / name
        self.parts = directory and directory / "metrics" / name
        self.tables: list[pd.DataFrame] = []
        self.sums: dict[str, str] = {}
        self.pending: list[tuple] = []
        self.thread = concurrent.futures.ThreadPoolExecutor(1)
        self.last: concurrent.futures.Future | None = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.shutdown(wait=True)
        if self.last is not None:
            self.last.result()

    def restore(self, edges: Programs, hypers: Any, data: Tree) -> tuple[Replica, int]:
        """(replicas, step) of the newest sound checkpoint, or the start; what was written beyond it is dropped.

        Raises InputError where checkpoints are there and none is sound.
        """
        found = None
        if self.directory is not None:
            checkpoint.clean(self.checkpoints)
            found = checkpoint.newest(self.checkpoints, self.meta, self.parts)
            self.sums = checkpoint.parts(found[0]) if found else {}
            metrics.drop_parts(self.parts, set(self.sums))
        if found is None:
            return edges.start(self.place.counts, hypers, data), 0
        return self.load(found[0], edges, hypers, data), found[1]

    def load(self, path: pathlib.Path, edges: Programs, hypers: Any, data: Tree) -> Replica:
        """The replicas of a checkpoint, placed on the devices."""
        like = jax.eval_shape(edges.start, self.place.counts, hypers, data)
        return jax.tree.map(self.place.place, checkpoint.restore(path, jax.tree.map(self._row_shape, like)))

    def advanced(self, first: int, last: int, sums: Tree) -> None:
        """Training metrics of the steps first..last, one line a log interval."""
        every = self.config.log_every
        ends = [min((k + 1) * every, last) for k in range(first // every, -(-last // every))]
        self.pending.append((ends, "train", sums, True))

    def evaluated(self, step: int, split: str, result: tuple[Tree, Tree]) -> None:
        """Metrics of one evaluation (its arrays go to ``arrays/`` beside the parts)."""
        found, arrays = result
        self.pending.append(([step], split, found, False))
        if self.directory is not None and jax.tree.leaves(arrays):
            path = self.directory / "arrays" / f"{self.name}-{step:08d}-{split}.npz"
            self.pending.append((path, arrays))

    def checkpoint(self, step: int, replicas: Replica) -> None:
        """Hands the state (copied to the host here) and the metrics since the last checkpoint to the writer thread."""
        pending, self.pending = self.pending, []
        host = None if self.directory is None else self._host(replicas)
        if self.last is not None:
            self.last.result()
        self.last = self.thread.submit(self._commit, step, host, pending)

    def states(self, replicas: Replica) -> dict[tuple[str, str], Replica]:
        """Each row's Replica on the host, by its group and identity."""
        host = self._host(replicas)
        return {(self.group, name): jax.tree.map(lambda x, r=r: x[r], host) for r, name in enumerate(self.identities)}

    def _commit(self, step: int, host: Tree, pending: list[tuple]) -> None:
        start = time.monotonic()
        tables = [self.lines(*entry) for entry in pending if len(entry) == 4]
        if self.directory is None:
            self.tables += tables
            return
        for path, arrays in (entry for entry in pending if len(entry) == 2):
            named = {"/".join(map(str, where)): value for where, value in _flat(self._host(arrays))}
            files.write(path, lambda p, named=named: np.savez(p, rows=self.identities, **named))
        part = self.parts / f"part-{step:08d}.parquet"
        metrics.write_part(part, tables)
        self.sums[part.name] = checkpoint.sum_of(part)
        checkpoint.save(self.checkpoints, step, host, self.meta | {"step": step, "parts": self.sums})
        ledger.log_time(self.directory, event="checkpoint", cohort=self.name, step=step, seconds=_since(start))

    def lines(self, ends: list[int], split: str, found: Tree, slots: bool) -> pd.DataFrame:
        """Metrics on the devices, of one evaluation or of ``slots`` of training, as lines of the table."""
        found = jax.tree.map(lambda x: self._by_end(x, len(ends), slots), found)
        per_step = self.study.per_step(self.config)
        columns = self.hypers._asdict()
        return metrics.lines(self.identities, columns, self.group, ends, per_step, split, found)

    def _by_end(self, value: Any, ends: int, slots: bool) -> np.ndarray:
        rows = self.place.gather(value)
        return np.moveaxis(rows, 1, 0)[:ends] if slots else rows[None]

    def _host(self, tree: Tree) -> Tree:
        return jax.tree.map(self.place.gather, jax.device_get(tree))

    def _row_shape(self, s: jax.ShapeDtypeStruct) -> np.ndarray:
        return np.empty((self.place.rows, *s.shape[2:]), s.dtype)


def _meta(settings: dict[str, Any]) -> dict[str, Any]:
    # Steps may grow under a constant schedule; the directory's record, not the checkpoint, watches over them.
    return json.loads(json.dumps({k: v for k, v in settings.items() if k != "steps"}))


def _flat(tree: Tree) -> list[tuple[tuple, np.ndarray]]:
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    return [(tuple(getattr(p, "key", getattr(p, "name", p)) for p in where), leaf) for where, leaf in pairs]


def _since(start: float) -> float:
    return round(time.monotonic() - start, 4)
