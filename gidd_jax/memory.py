"""How many rows fit: what the compiler says a call needs against what the device has."""

import os
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gidd_jax.errors import InputError
from gidd_jax.grid import take
from gidd_jax.program import layout, programs
from gidd_jax.types import Tree

GIB = 2.0**30


def limit(config: Any, device: jax.Device) -> float:
    """Bytes a device may use: ``config.memory_limit`` GiB, else nine tenths of what the device (or the host) has."""
    if config.memory_limit:
        return config.memory_limit * GIB
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return 0.9 * stats["bytes_limit"]
    return 0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / jax.local_device_count()


def rows_at_once(study: Any, config: Any, hypers: Any, data: Tree, devices: Sequence[jax.Device]) -> int:
    """The most rows whose training call fits the devices; all of them if they do, and a line on stderr if not.

    A call needs its temporaries, the data, and the state of its blocks; only the last grows with the rows. Raises
    InputError where not even one block fits.
    """
    count = len(hypers[0])
    available = limit(config, devices[0])
    spread = layout(count, config.width, devices)
    fixed, per_block = _needs(study, config, hypers, data, devices[:1])
    blocks = int((available - fixed) // per_block)
    if blocks < 1:
        raise InputError(
            f"a block of {config.width} replicas needs {(fixed + per_block) / GIB:.2f} GiB a device, "
            f"{available / GIB:.2f} GiB are allowed: lower --width or --batch, or raise --memory-limit"
        )
    if blocks >= spread.per_device:
        return count
    most = blocks * config.width * spread.mesh.size
    print(
        f"gidd-jax: {count} rows need more than {available / GIB:.2f} GiB a device; training {most} at a time",
        file=sys.stderr,
    )
    return most


def _needs(study: Any, config: Any, hypers: Any, data: Tree, devices: Sequence[jax.Device]) -> tuple[float, float]:
    """Bytes of one call that do not grow with the blocks, and bytes of a block's state, on one device."""
    one = take(hypers, [0])
    place = layout(1, config.width, devices)
    blocks = jax.tree.map(place.place, one)
    edges = programs(study, config, place.mesh)
    keys = jax.vmap(jax.vmap(jax.random.key))(blocks.seed)
    replicas = jax.eval_shape(edges.start, place.counts, (blocks, keys), data)
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(replicas))
    first = jnp.int32(0)
    lowered = edges.advance.lower(place.counts, replicas, blocks, data, first, first)
    analysis = lowered.compile().memory_analysis()
    held = sum(np.asarray(x).nbytes if not hasattr(x, "nbytes") else x.nbytes for x in jax.tree.leaves(data))
    return float(analysis.temp_size_in_bytes + held), float(state)
