"""What is trained and measured: a study at a size, by the programs that a sweep runs, without a directory."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import flops
from benchmarks.harness import Compiled, compiled
from gidd_jax import grid
from gidd_jax.config import resolved
from gidd_jax.models import two_head
from gidd_jax.program import Layout, Programs, layout, programs
from gidd_jax.studies import kuramoto, sudoku, sudoku_model
from gidd_jax.types import Tree


class Subject(NamedTuple):
    """A study and the settings it is measured at."""

    study: Any
    settings: dict[str, Any]

    def but(self, **settings: Any) -> "Subject":
        """The same with some settings replaced."""
        return self._replace(settings=self.settings | settings)

    @property
    def config(self) -> Any:
        """Its Config, every setting decided."""
        return resolved(self.study.Config(**self.settings), None, jax.default_backend())


TOWERS = Subject(sudoku, {"data": "4x4", "d_model": 32, "layers": 2, "heads": 4, "batch": 16})
"""Two coupled towers on 4x4 boards: about the least that learns anything."""

POSTS = Subject(sudoku, sudoku.presets["posts"] | {"data": "9x9", "batch": 64})
"""The source posts' model: 806,026 parameters on 9x9 boards."""

TINIEST = Subject(sudoku, {"data": "4x4", "d_model": 8, "layers": 1, "heads": 2, "batch": 2})
SPINNERS = Subject(kuramoto, {"oscillators": 8, "steps": 64})
"""Compiles in no time: for runs that only show that all of it runs."""


class Rows(NamedTuple):
    """Rows of a sweep, placed on devices, with their programs and the first training call compiled."""

    study: Any
    config: Any
    place: Layout
    edges: Programs
    hypers: Any
    data: Tree
    replicas: Tree
    advance: Compiled


def rows(subject: Subject, count: int, devices: Sequence[jax.Device] | None = None) -> Rows:
    """``count`` seeds of the study, ready to train on ``devices`` (one, if not told)."""
    study, config = subject.study, subject.config
    place = layout(count, config.width, devices or jax.local_devices()[:1])
    edges = programs(study, config, place.mesh)
    hypers = jax.tree.map(place.place, grid.grid(study, seed=range(count)))
    data = jax.device_put(host_data(study, config), place.replicated)
    replicas = edges.start(place.counts, hypers, data)
    step = jnp.int32(0)
    advance = compiled(edges.advance, place.counts, replicas, hypers, data, step, step)
    return Rows(study, config, place, edges, hypers, data, replicas, advance)


def advancing(made: Rows, steps: int) -> Callable[[], Any]:
    """A call that trains every row ``steps`` steps on; each goes on where the last one stopped."""
    replicas, first = made.replicas, 0

    def call() -> Any:
        nonlocal replicas, first
        spans = jnp.int32(first), jnp.int32(first + steps)
        replicas, sums = made.advance.call(made.place.counts, replicas, made.hypers, made.data, *spans)
        first += steps
        return sums

    return call


def separately(made: Rows, steps: int) -> tuple[Callable[[], Any], Compiled]:
    """The same seeds as runs of their own: one jitted step a call, its state donated, in a Python loop over all."""
    study, config = made.study, made.config
    data = jax.device_put(host_data(study, config), jax.local_devices()[0])
    hypers = [study.Hyper(seed=seed) for seed in range(made.place.rows)]

    def one_step(state: Tree, hyper: Any, data: Tree, i: jax.Array) -> tuple[Tree, Tree]:
        key = jax.random.fold_in(jax.random.key(hyper.seed), i)
        state, metrics, _ = study.step(state, key, hyper, config, data, i)
        return state, metrics

    start = jax.jit(lambda hyper, data: study.init(jax.random.key(hyper.seed), hyper, config, data))
    states = [start(hyper, data) for hyper in hypers]
    step = compiled(jax.jit(one_step, donate_argnums=0), states[0], hypers[0], data, 0)
    done = 0

    def call() -> Any:
        nonlocal done
        for i in range(done, done + steps):
            for row, hyper in enumerate(hypers):
                states[row], metrics = step.call(states[row], hyper, data, i)
        done += steps
        return states, metrics

    return call, step


def work(made: Rows, rows: int = 1) -> dict[str, Any]:
    """What a step of so many rows computes and makes, as fields of a benchmark's Row."""
    study, config = made.study, made.config
    operations = flops.two_head_training(model(config), config.batch) if study is sudoku else 0
    return {"flops": rows * operations or None, "items": rows * study.per_step(config), "unit": study.unit}


def model(config: sudoku.Config) -> two_head.TwoHeadConfig:
    """The static shape of the two-head model."""
    return sudoku_model.shape(config, host_data(sudoku, config))


@functools.cache
def host_data(study: Any, config: Any) -> Tree:
    """The study's data on the host."""
    return jax.tree.map(np.asarray, study.load(config)[0])
