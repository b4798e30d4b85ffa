"""Many boards completed a block at a time: what a core's cache holds, over devices."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Integer

from gidd_jax.sampling.draws import keys_by_step
from gidd_jax.sampling.walk import Walk
from gidd_jax.types import PRNGKey, Tree

Boards = TypeVar("Boards", bound=Tree)
CPU_BLOCK = 128


def in_blocks(
    complete: Callable[[PRNGKey, Boards], Walk],
    key: PRNGKey,
    boards: Boards,
    question: Integer[Array, "B S"],
    size: int | None = None,
    devices: Sequence[jax.Device] = (),
) -> Walk:
    """``complete(key, boards)`` of blocks of at most ``size`` boards, those with as many unknown cells (0) together.

    ``boards``: arrays with a board a row, what ``complete`` reads. A block ends with its slowest board. ``size``: 128
    on a CPU, where a pass over more falls out of the cache, and all boards elsewhere. Blocks are dealt out to
    ``devices``, if given. Each block has a key of its own, unless there is but one; ``key`` is consumed.
    """
    count, share = len(question), max(1, len(devices))
    size = size or (CPU_BLOCK if jax.default_backend() == "cpu" else count)
    turns = -(-count // (size * share))  # blocks of a device
    blocks = turns * share
    if blocks == 1:
        return complete(key, boards)
    size = -(-count // blocks)
    order = jnp.argsort((question == 0).sum(1))
    ranks = jnp.minimum(jnp.arange(blocks * size), count - 1).reshape(turns, share, size).swapaxes(0, 1)
    dealt = jax.tree.map(lambda x: x[order[ranks]], boards), ranks[..., 0]  # [devices, turns, size, ...]
    key_of = keys_by_step(key)

    def one(block: tuple[Boards, jax.Array]) -> Walk:
        walked = complete(key_of(block[1]), block[0])
        return walked._replace(history=walked.history.swapaxes(0, 1))

    def of_device(dealt: Tree) -> Walk:
        return jax.tree.map(lambda x: x[None], jax.lax.map(one, jax.tree.map(lambda x: x[0], dealt)))

    if devices:
        mesh, spec = jax.sharding.Mesh(np.asarray(devices), "boards"), PartitionSpec("boards")
        of_device = jax.shard_map(of_device, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)
    walked = of_device(dealt)
    rank = jnp.argsort(order)
    block, place = rank // size, rank % size
    walked = jax.tree.map(lambda x: x[block % share, block // share, place], walked)
    return walked._replace(history=walked.history.swapaxes(0, 1))
