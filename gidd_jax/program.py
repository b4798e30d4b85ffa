"""One replica's pure functions -> compiled programs over all rows of a sweep. The only file that vmaps replicas.

Rows stand in *blocks* of a fixed width W: ``[blocks, W, ...]``, the block axis sharded over devices, padding at the
end. A program loops over the blocks of its device; the number of blocks and of steps are traced, so the compiled body
of the loop, and with it every rounding, is the same whatever else the sweep holds.
"""

from collections.abc import Callable, Sequence
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
    advance(counts, replicas, hypers, data, first, last) -> (replicas, metrics [blocks, SLOTS, W, ...]); replicas are
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

    def gather(self, blocks: Any, axis: int = 1) -> np.ndarray:
        """[blocks, ..., W at ``axis``, ...] on the devices -> [rows, ...] on the host, padding dropped."""
        array = np.moveaxis(np.asarray(blocks), axis, 1)
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

    start = jax.jit(jax.vmap(lambda hyper, data: _start(study, config, hyper, data), (0, None)))
    step = jax.jit(jax.vmap(lambda *args: _step(study, config, *args), (0, 0, None, None)))
    evaluate = jax.jit(jax.vmap(lambda *args: _evaluate(study, config, *args), (0, 0, None, None)))

    def started(counts, hypers, data):
        return _over_blocks(lambda block: start(block, data), counts[0], hypers)

    def advanced(counts, replicas, hypers, data, first, last):
        def block(b, carry):
            replicas, gathered = carry
            block_hypers = _at(hypers, b)

            def one(i, carry):
                state, sums = carry
                state, means = step(state, block_hypers, data, i)
                slot = i // config.log_every - first // config.log_every
                return state, _set(sums, _pack(means) + _at(sums, slot), slot)

            state = _at(replicas, b)
            shapes = jax.eval_shape(step, state, block_hypers, data, first)[1]
            size = sum(leaf.size for leaf in jax.tree.leaves(shapes)) // config.width
            sums = jnp.zeros((SLOTS, config.width, size))
            state, sums = jax.lax.fori_loop(first, last, one, (state, sums))
            return _set(replicas, state, b), _set(gathered, _unpack(sums, shapes), b)

        shapes = jax.eval_shape(step, _at(replicas, 0), _at(hypers, 0), data, first)[1]
        blocks = jax.tree.leaves(hypers)[0].shape[0]
        gathered = jax.tree.map(lambda s: jnp.zeros((blocks, SLOTS, *s.shape), s.dtype), shapes)
        return jax.lax.fori_loop(0, counts[0], block, (replicas, gathered))

    def evaluated(counts, rows, data, split):
        return _over_blocks(lambda block: evaluate(*block, data, split), counts[0], rows)

    return Programs(
        lift(started, (rows, rows, shared)),
        lift(advanced, (rows, rows, rows, shared, shared, shared), donate=(1,)),
        lift(evaluated, (rows, rows, shared, shared)),
    )


def _key(hyper: Any, stream: int, i: Any) -> PRNGKey:
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(hyper.seed), stream), i)


def _start(study: Any, config: Any, hyper: Any, data: Tree) -> Replica:
    state = study.init(_key(hyper, INIT, 0), hyper, config, data)
    return Replica(state, jnp.int32(0), jnp.bool_(True), jnp.int32(-1))


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
    """All numbers of W rows as one [W, numbers]: one addition a step instead of one a metric."""
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(means)], axis=1)


def _unpack(sums: jax.Array, shapes: Tree) -> Tree:
    leaves, structure = jax.tree.flatten(shapes)
    cuts = np.cumsum([leaf.size // leaf.shape[0] for leaf in leaves])[:-1]
    pieces = jnp.split(sums, cuts, axis=2)
    return structure.unflatten(p.reshape(p.shape[0], *s.shape) for p, s in zip(pieces, leaves, strict=True))
