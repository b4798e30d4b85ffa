"""Any pytree <-> a directory on disk, written whole or not at all, and never trusted unread.

Orbax writes the arrays; beside them stand ``meta.json`` and a sha256 of every file. A checkpoint is committed by one
rename, so a kill at any instant leaves the previous ones and a temporary folder that the next start removes. Orbax is
imported by whoever writes or reads first, so that no first step waits for it.
"""

import errno
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import sys
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gidd_jax.errors import InputError
from gidd_jax.files import named, sync_tree, write_text
from gidd_jax.types import Tree

KEPT = 2
SUMS = "sha256.json"


def save(directory: pathlib.Path, step: int, state: Tree, meta: dict[str, Any]) -> None:
    """Commits ``state`` as ``directory/step`` and keeps the two newest. ``state`` may live on host or device."""
    final = directory / f"{step:08d}"
    pending = directory / f".pending-{step:08d}"
    shutil.rmtree(pending, ignore_errors=True)
    pending.mkdir(parents=True)
    with named(final):
        _save_state(pending / "state", state)
        write_text(pending / "meta.json", json.dumps(meta, indent=1))
        write_text(pending / SUMS, json.dumps(_sums(pending), indent=1))
        sync_tree(pending)
    if final.exists():
        shutil.rmtree(final)
    os.replace(pending, final)
    sync_tree(directory, deep=False)
    for old in steps(directory)[:-KEPT]:
        shutil.rmtree(directory / f"{old:08d}")


def steps(directory: pathlib.Path) -> list[int]:
    """The committed steps, oldest first."""
    if not directory.is_dir():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit() and path.is_dir())


def clean(directory: pathlib.Path) -> None:
    """Removes what a killed writer left behind."""
    for path in directory.glob(".pending-*") if directory.is_dir() else ():
        shutil.rmtree(path)


def verify(path: pathlib.Path, meta: dict[str, Any], tables: pathlib.Path | None = None) -> str:
    """Nothing where every file is as it was written for this ``meta``, else one line naming what is not."""
    read = {}
    for name in (SUMS, "meta.json"):
        try:
            read[name] = json.loads((path / name).read_text())
            if not isinstance(read[name], dict):
                raise ValueError("not an object")
        except (OSError, ValueError, RecursionError) as error:
            return f"{path / name}: unreadable ({type(error).__name__})"
    expected, found = read.values()
    if (actual := _sums(path)) != expected:
        broken = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
        return f"{path / broken[0]}: torn or altered, its sha256 is not the one written with it"
    for name, value in meta.items():
        if found.get(name) != value:
            return f"{path}: belongs to another sweep, its {name} differs"
    for name, wanted in found["parts"].items() if tables else ():
        if not re.fullmatch(r"part-\d+\.parquet", name, re.ASCII):
            return f"{path / 'meta.json'}: no part of a table is called {name!r}"
        part = tables / name
        if not part.exists() or sum_of(part) != wanted:
            return f"{part}: missing, torn or altered; the checkpoint {path.name} was written with it"
    return ""


def parts(path: pathlib.Path) -> dict[str, str]:
    """The parts of the table that stand behind a checkpoint: {file name: sha256}."""
    return json.loads((path / "meta.json").read_text())["parts"]


def newest(
    directory: pathlib.Path, meta: dict[str, Any], tables: pathlib.Path | None = None
) -> tuple[pathlib.Path, int] | None:
    """(path, step) of the newest sound checkpoint, None where none was ever written.

    With ``tables``, the folder of the cohort's parts, it is sound only together with the parts written before it.
    An unsound one is named on stderr and the one before it is used; raises InputError if none is left.
    """
    faults = []
    for step in reversed(steps(directory)):
        path = directory / f"{step:08d}"
        if not (fault := verify(path, meta, tables)):
            for named in faults:
                print(f"gidd-jax: {named}; going on from the checkpoint before it", file=sys.stderr)
            return path, step
        faults.append(fault)
    if faults:
        raise InputError(f"{faults[0]}; no sound checkpoint is left: remove the directory to train anew")
    return None


def restore(path: pathlib.Path, like: Tree) -> Tree:
    """The state at ``path`` on the host, in the types, shapes and dtypes of ``like`` (numpy arrays).

    Raises InputError where it does not fit: Orbax itself would cast a dtype silently.
    """
    import orbax.checkpoint as ocp

    with _checkpointer() as reader:
        try:
            state = reader.restore((path / "state").absolute(), args=ocp.args.PyTreeRestore(like, _on_host(like)))
        except (ValueError, KeyError, TypeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{path}: does not fit this sweep: {reason}") from error
    for (where, wanted), got in zip(jax.tree_util.tree_leaves_with_path(like), jax.tree.leaves(state), strict=True):
        if wanted.shape != got.shape or wanted.dtype != got.dtype:
            name = jax.tree_util.keystr(where)
            raise InputError(f"{path}: {name} is {got.dtype}{got.shape}, this sweep has {wanted.dtype}{wanted.shape}")
    return state


def restore_raw(path: pathlib.Path) -> dict[str, Any]:
    """The state at ``path`` as nested dicts of arrays, whatever types it had."""
    import orbax.checkpoint as ocp

    with _checkpointer() as reader:
        saved = reader.metadata((path / "state").absolute()).item_metadata.tree
        return reader.restore((path / "state").absolute(), args=ocp.args.PyTreeRestore(saved, _on_host(saved)))


def sum_of(path: pathlib.Path) -> str:
    """sha256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _save_state(path: pathlib.Path, state: Tree) -> None:
    """Orbax' save; what fails in it is one OSError: its threads would tell it too, in pages, and again as they end."""
    import orbax.checkpoint as ocp

    loggers = [logging.getLogger(name) for name in ("absl", "concurrent.futures")]
    levels, hook = [logger.level for logger in loggers], sys.unraisablehook
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    sys.unraisablehook = lambda what: None if str(what.exc_value) == "Event loop is closed" else hook(what)
    try:
        with _checkpointer() as writer:
            writer.save(path.absolute(), args=ocp.args.PyTreeSave(jax.tree.map(_savable, state)))
        # After a failure it stays: writes that are still under way find the loop closed at any time.
        sys.unraisablehook = hook
    except ValueError as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number)) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _sums(path: pathlib.Path) -> dict[str, str]:
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != SUMS)
    return {str(p.relative_to(path)): sum_of(p) for p in files}


def _checkpointer() -> Any:
    """Orbax for this process alone: hosts under ``jax.distributed`` write rows of their own and never wait."""
    import orbax.checkpoint as ocp

    if jax.process_count() == 1:
        return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=here, active_processes={here}, barrier_sync_key_prefix=f"host{here}"
    )
    arrays = ocp.type_handlers.ArrayHandler(primary_host=here, use_replica_parallel=False, array_metadata_store=None)
    kinds = ocp.type_handlers.create_type_handler_registry(
        (jax.Array, arrays), (np.ndarray, ocp.type_handlers.NumpyHandler())
    )
    handler = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone, type_handler_registry=kinds)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _savable(leaf: Any) -> Any:
    """A leaf as Orbax will write it from this process.

    Among several processes it writes numpy arrays from the first only, and of a jax.Array the first replica: so this
    process takes that place in an array said to be replicated over one device of its own and one of another's.
    """
    if jax.process_count() == 1:
        return leaf
    here = jax.local_devices()[0]
    other = next(device for device in jax.devices() if device.process_index != here.process_index)
    sharding = NamedSharding(Mesh(np.array([here, other]), ("host",)), PartitionSpec())
    return jax.make_array_from_single_device_arrays(np.shape(leaf), sharding, [jax.device_put(leaf, here)])


def _on_host(tree: Tree) -> Tree:
    import orbax.checkpoint as ocp

    return jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
