"""How many rows fit: what the compiler says a call needs against what the device has."""

import pathlib
import sys
from typing import Any

import jax

from gidd_jax.errors import InputError
from gidd_jax.program import Layout
from gidd_jax.types import Tree

GIB = 2.0**30
MEMINFO = pathlib.Path("/proc/meminfo")


def limit(config: Any, device: jax.Device) -> float:
    """Bytes a device may use: ``config.memory_limit`` GiB, else nine tenths of what the device (or the host) has."""
    if config.memory_limit:
        return config.memory_limit * GIB
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return 0.9 * stats["bytes_limit"]
    if not MEMINFO.exists():
        return float("inf")
    available = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable"))
    return 0.9 * 1024 * int(available.split()[1]) / jax.local_device_count()


def rows_at_once(config: Any, place: Layout, call: Any, replicas: Tree) -> int:
    """The most of ``place.rows`` rows that fit: all of them, or as many as leave room for one call, said on stderr.

    A call needs temporaries and data, whatever the rows, and the state of its blocks (``replicas``, as shapes).
    ``call`` is the compiled ``advance``. Raises InputError where not even one block fits.
    """
    available, total, state = _needs(config, place, call, replicas)
    if total <= available:
        return place.rows
    per_block = state / place.per_device
    blocks = int((available - (total - state)) // per_block)
    if blocks < 1:
        raise InputError(
            f"a block of {config.width} replicas needs {(total - state + per_block) / GIB:.3g} GiB a device, "
            f"{available / GIB:.3g} GiB are allowed: lower --width or --batch, or raise --memory-limit"
        )
    most = min(blocks * config.width * place.mesh.size, place.rows)
    print(
        f"gidd-jax: {place.rows} rows need {total / GIB:.2f} of {available / GIB:.2f} GiB a device; "
        f"training {most} at a time",
        file=sys.stderr,
    )
    return most


def spare(config: Any, place: Layout, call: Any, replicas: Tree) -> bool:
    """Whether the state of all rows fits once more beside a call."""
    available, total, state = _needs(config, place, call, replicas)
    return total + state <= available


def _needs(config: Any, place: Layout, call: Any, replicas: Tree) -> tuple[float, float, float]:
    """Bytes of a device: those there are, those of a call with all it works on, and those of the state among them."""
    analysis = call.memory_analysis()
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(replicas)) / place.mesh.size
    inputs = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return limit(config, place.mesh.devices.flat[0]), float(analysis.temp_size_in_bytes + inputs), state
