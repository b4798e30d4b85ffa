"""One replica's pure functions -> compiled programs over all rows of a sweep. The only file that vmaps replicas.

Rows stand in *blocks* of a fixed width W: ``[blocks, W, ...]``, the block axis sharded over devices, padding at the
end. A program loops over the blocks of its device; the number of blocks and of steps are traced, so the compiled body
of the loop, and with it every rounding, is the same whatever else the sweep holds.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from gidd_jax.types import Mean, Metrics, PRNGKey, Tree

SLOTS = 64
"""Log intervals one call can gather."""

# Streams of a seed: what one draws never depends on how often another drew.
INIT, TRAIN, EVALUATE = range(3)


class Replica(NamedTuple):
    """All of one training run that survives a restart; its key is made from the seed in its Hyper at every use."""

    state: Tree
    step: jax.Array
    alive: jax.Array
    failed_at: jax.Array  # the step whose update was not finite; -1 while alive


class Programs(NamedTuple):
    """The jitted edges of a sweep; each takes blocks and returns blocks.

    start(counts, hypers, data) -> replicas
    advance(counts, replicas, hypers, data, first, last) -> (replicas, metrics [blocks, W, SLOTS, ...]); replicas are
        donated
    evaluate(counts, (replicas, hypers), data, split) -> (metrics, arrays), [blocks, W, ...]
    """

    start: Callable
    advance: Callable
    evaluate: Callable


class Layout(NamedTuple):
    """Where rows stand: W to a block, blocks over the devices of a mesh."""

    rows: int
    width: int
    mesh: jax.sharding.Mesh

    @property
    def filled(self) -> int:
        """Blocks with rows on the fullest device."""
        return -(-self.rows // (self.width * self.mesh.size))

    @property
    def per_device(self) -> int:
        """Blocks on a device. Two at least: XLA compiles a loop over an axis of length one to another body."""
        return max(2, self.filled)

    @property
    def counts(self) -> jax.Array:
        """Blocks that hold at least one row, by device: the others are never computed."""
        full = -(-self.rows // self.width)
        counts = np.clip(full - np.arange(self.mesh.size) * self.filled, 0, self.filled)
        return jax.device_put(counts.astype(np.int32), self.sharding)

    @property
    def sharding(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec("replica"))

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    def place(self, column: np.ndarray) -> jax.Array:
        """[rows, ...] on the host -> [blocks, W, ...] on the devices; padding repeats the first row."""
        column = np.asarray(column)
        index = np.zeros((self.mesh.size, self.per_device * self.width), int)
        rows = np.arange(self.mesh.size * self.filled * self.width).reshape(self.mesh.size, -1)
        index[:, : rows.shape[1]] = np.where(rows < self.rows, rows, 0)
        return jax.device_put(column[index.reshape(-1, self.width)], self.sharding)

    def gather(self, blocks: Any) -> np.ndarray:
        """[blocks, W, ...] on the devices -> [rows, ...] on the host, padding dropped."""
        array = np.asarray(blocks)
        array = array.reshape(self.mesh.size, self.per_device, *array.shape[1:])[:, : self.filled]
        return array.reshape(-1, *array.shape[3:])[: self.rows]


def layout(rows: int, width: int, devices: Sequence[jax.Device]) -> Layout:
    """The layout of ``rows`` replicas over all ``devices``, with no collective between them.

    All of them whatever the rows: XLA rounds a program for one device unlike one for several.
    """
    axis_types = (jax.sharding.AxisType.Auto,)
    return Layout(rows, width, jax.make_mesh((len(devices),), ("replica",), axis_types, devices=devices))


def programs(study: Any, config: Any, mesh: jax.sharding.Mesh) -> Programs:
    """The three programs of a study under one config; compiled at their first call for a given number of blocks."""
    rows, shared = PartitionSpec("replica"), PartitionSpec()

    def lift(function: Callable, in_specs: tuple, donate: tuple[int, ...] = ()) -> Callable:
        sharded = jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=rows, check_vma=False)
        return jax.jit(sharded, donate_argnums=donate)

    rowwise = _alone if config.width == 1 else jax.vmap
    start = jax.jit(rowwise(partial(_start, study, config), (0, None)))
    advance = jax.jit(rowwise(partial(_advance, study, config), (0, 0, None, None, None)))
    evaluate = jax.jit(rowwise(partial(_evaluate, study, config), (0, 0, None, None)))

    def started(counts, hypers, data):
        return _over_blocks(lambda block: start(block, data), counts[0], hypers)

    def advanced(counts, replicas, hypers, data, first, last):
        def block(b, carry):
            replicas, gathered = carry
            trained, sums = advance(_at(replicas, b), _at(hypers, b), data, first, last)
            return _set(replicas, trained, b), _set(gathered, sums, b)

        shapes = jax.eval_shape(advance, _at(replicas, 0), _at(hypers, 0), data, first, last)[1]
        blocks = jax.tree.leaves(hypers)[0].shape[0]
        gathered = jax.tree.map(lambda s: jnp.zeros((blocks, *s.shape), s.dtype), shapes)
        return jax.lax.fori_loop(0, counts[0], block, (replicas, gathered))

    def evaluated(counts, rows, data, split):
        return _over_blocks(lambda block: evaluate(*block, data, split), counts[0], rows)

    return Programs(
        lift(started, (rows, rows, shared)),
        lift(advanced, (rows, rows, rows, shared, shared, shared), donate=(1,)),
        lift(evaluated, (rows, rows, shared, shared)),
    )


def _alone(function: Callable, in_axes: tuple[int | None, ...]) -> Callable:
    """`vmap` of a block of one row, by the row's own program: an axis of one element slows XLA's sums on a CPU."""

    def block(*args):
        row = (arg if axis is None else _at(arg, 0) for arg, axis in zip(args, in_axes, strict=True))
        return jax.tree.map(lambda x: jnp.asarray(x)[None], function(*row))

    return block


def _key(hyper: Any, stream: int, i: Any) -> PRNGKey:
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(hyper.seed), stream), i)


def _start(study: Any, config: Any, hyper: Any, data: Tree) -> Replica:
    state = study.init(_key(hyper, INIT, 0), hyper, config, data)
    return Replica(state, jnp.int32(0), jnp.bool_(True), jnp.int32(-1))


def _advance(
    study: Any, config: Any, replica: Replica, hyper: Any, data: Tree, first: jax.Array, last: jax.Array
) -> tuple[Replica, Tree]:
    """Steps ``first`` to ``last``, and the sums of their metrics over every log interval, [SLOTS, ...]."""
    step = jax.jit(partial(_step, study, config))

    def one(i: jax.Array, carry: tuple[Replica, jax.Array]) -> tuple[Replica, jax.Array]:
        replica, sums = carry
        replica, means = step(replica, hyper, data, i)
        slot = i // config.log_every - first // config.log_every
        return replica, _set(sums, _pack(means) + _at(sums, slot), slot)

    shapes = jax.eval_shape(step, replica, hyper, data, first)[1]
    sums = jnp.zeros((SLOTS, sum(leaf.size for leaf in jax.tree.leaves(shapes))))
    replica, sums = jax.lax.fori_loop(first, last, one, (replica, sums))
    return replica, _unpack(sums, shapes)


def _step(study: Any, config: Any, replica: Replica, hyper: Any, data: Tree, i: jax.Array) -> tuple[Replica, Metrics]:
    state, metrics, healthy = study.step(replica.state, _key(hyper, TRAIN, i), hyper, config, data, i)
    alive = replica.alive & healthy
    state = jax.tree.map(lambda new, old: jnp.where(alive, new, old), state, replica.state)
    failed_at = jnp.where(replica.alive & ~healthy, i, replica.failed_at)
    means = {name: _counted(value, alive) for name, value in metrics.items()}
    return Replica(state, i + 1, alive, failed_at), means


def _evaluate(
    study: Any, config: Any, replica: Replica, hyper: Any, data: Tree, split: jax.Array
) -> tuple[Metrics, Tree]:
    key = _key(hyper, EVALUATE, split)
    metrics, arrays = study.evaluate(replica.state, key, hyper, config, data, split)
    means = {name: _counted(value, replica.alive) for name, value in metrics.items()}
    return means | {"alive": Mean(replica.alive.astype(jnp.float32), jnp.float32(1))}, arrays


def _counted(value: Any, alive: jax.Array) -> Mean:
    """A metric as a Mean that counts nothing once the replica is dead."""
    if not isinstance(value, Mean):
        value = Mean(jnp.asarray(value, jnp.float32), jnp.ones_like(value, jnp.float32))
    return Mean(*(jnp.where(alive, x.astype(jnp.float32), 0.0) for x in value))


def _over_blocks(function: Callable, count: jax.Array, rows: Tree) -> Tree:
    """``function`` of each block of ``rows`` in turn, its results stacked."""
    blocks = jax.tree.leaves(rows)[0].shape[0]
    shapes = jax.eval_shape(function, _at(rows, 0))
    out = jax.tree.map(lambda s: jnp.zeros((blocks, *s.shape), s.dtype), shapes)
    return jax.lax.fori_loop(0, count, lambda b, out: _set(out, function(_at(rows, b)), b), out)


def _at(tree: Tree, b: Any) -> Tree:
    return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, b, keepdims=False), tree)


def _set(tree: Tree, value: Tree, b: Any) -> Tree:
    return jax.tree.map(lambda x, v: jax.lax.dynamic_update_index_in_dim(x, v, b, 0), tree, value)


def _pack(means: Tree) -> jax.Array:
    """All numbers in a row: one addition a step instead of one a metric."""
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(means)])


def _unpack(sums: jax.Array, shapes: Tree) -> Tree:
    leaves, structure = jax.tree.flatten(shapes)
    pieces = jnp.split(sums, np.cumsum([leaf.size for leaf in leaves])[:-1], axis=1)
    return structure.unflatten(p.reshape(len(p), *s.shape) for p, s in zip(pieces, leaves, strict=True))
