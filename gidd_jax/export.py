"""One row of a sweep as standalone files, and back: ``params.npz`` and ``config.json`` in a directory of their own.

Such a directory, a *model*, may hold imported weights as well; what is known of it stands in its ``config.json``.
"""

import hashlib
import json
import pathlib
from typing import Any

import jax
import numpy as np

from gidd_jax import checkpoint, files, grid, ledger, train
from gidd_jax.config import from_json, to_json
from gidd_jax.errors import InputError
from gidd_jax.types import Tree


def rows(study: Any, directory: pathlib.Path) -> list[dict[str, Any]]:
    """Every row of a sweep: identity, group, cohort and place in it, Hyper values, told for people, last saved step."""
    found = []
    for index, group in enumerate(ledger.read(directory)["groups"]):
        for cohort in group["cohorts"]:
            steps = checkpoint.steps(directory / "checkpoints" / cohort["name"])
            hypers = ledger.cohort_hypers(study, cohort)
            for place, row in enumerate(grid.row_ids(hypers)):
                values = {field: column[place].item() for field, column in hypers._asdict().items()}
                entry = {"row": row, "group": index, "cohort": cohort["name"], "place": place, "hypers": values}
                found.append(entry | {"told": grid.describe(hypers, place), "step": steps[-1] if steps else 0})
    return found


def find(study: Any, directory: pathlib.Path, row: str) -> dict[str, Any]:
    """The row whose identity starts with ``row``; ``g1:ID`` names one of a group.

    Raises InputError where none or several match, or it is not saved yet.
    """
    known = rows(study, directory)
    name = "{group}:{row}".format
    matching = [e for e in known if e["row"].startswith(row) or f"g{name(**e)}".startswith(row)]
    if len(matching) != 1:
        fitting = matching or known
        listed = ", ".join(f"g{name(**e)} ({e['told']})" for e in fitting[:8]) + ", ..." * (len(fitting) > 8)
        problem = f"names {len(matching)} rows" if matching else f"no such row; there are {len(known)}"
        raise InputError(f"{directory}, row {row!r}: {problem}: {listed}")
    if not matching[0]["step"]:
        raise InputError(f"{directory}, row {row!r}: no checkpoint yet; let the sweep run to one")
    return matching[0]


def load_row(study: Any, directory: pathlib.Path, row: str) -> tuple[dict[str, Any], Any, Any, Tree]:
    """A saved row -> (its entry, config, Hyper of scalars, parameters as evaluation uses them).

    Raises InputError where the row is unknown or its newest checkpoint is not sound.
    """
    entry = find(study, directory, row)
    group = ledger.read(directory)["groups"][entry["group"]]
    config = from_json(study.Config, group["config"])
    path, entry["step"] = checkpoint.newest(directory / "checkpoints" / entry["cohort"], {"study": study.name})
    state = checkpoint.restore_raw(path)["state"]
    if not {"params", "optim"} <= state.keys():
        raise InputError(f"{directory}, row {row!r}: a row of {study.name} learns nothing, so it has no parameters")
    params = state["optim"]["average"] if config.average else state["params"]
    hyper = study.Hyper(**entry["hypers"])
    return entry, config, hyper, jax.tree.map(lambda x: np.asarray(x)[entry["place"]], params)


def described(directory: pathlib.Path) -> dict[str, Any]:
    """The ``config.json`` of a sweep or of a model, which has no groups; raises InputError where it is of neither."""
    if not (directory / "params.npz").exists():
        return ledger.read(directory)
    path = directory / "config.json"
    try:
        about = json.loads(path.read_text())
        if not isinstance(about, dict) or "config" not in about:
            raise ValueError("not written by gidd-jax")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not {"study", "hyper"} <= about.keys():
        raise InputError(f"{directory}: holds a model of no study ({about.get('model', 'unknown')})")
    return about


def load_model(study: Any, directory: pathlib.Path) -> tuple[dict[str, Any], Any, Any, Tree]:
    """What ``load_row`` gives, of a model; its entry has row, step and the notes of an import."""
    about = described(directory)
    entry = {"row": about.get("row", directory.name), "step": about.get("step", 0), "notes": about.get("notes", [])}
    hypers = {name: value for name, value in about["hyper"].items() if name in study.Hyper._fields}
    return entry, from_json(study.Config, about["config"]), study.Hyper(**hypers), read_params(directory)[0]


def write(study: Any, directory: pathlib.Path, row: str, out: pathlib.Path) -> dict[str, Any]:
    """Exports one row into the directory ``out`` (see ``save``) -> the row's entry."""
    entry, config, hyper, params = load_row(study, directory, row)
    about = {"study": study.name, "row": entry["row"], "step": entry["step"], "hyper": hyper._asdict()}
    save(out, params, about | {"config": to_json(config)})
    return entry


def save(out: pathlib.Path, params: Tree, about: dict[str, Any]) -> None:
    """Writes ``out/params.npz`` (path -> array) and ``out/config.json`` (what they are); InputError if not a folder."""
    if out.is_file():
        raise InputError(f"{out}: is a file; give a directory")
    named = {train.path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    files.write(out / "params.npz", lambda pending: np.savez(pending, **named))
    files.write_text(out / "config.json", json.dumps(about, indent=1) + "\n")


def read_params(directory: str | pathlib.Path) -> tuple[Tree, str]:
    """The parameters ``save`` left, as a nested dict, and their sha256; raises InputError where there are none."""
    path = pathlib.Path(directory) / "params.npz"
    try:
        blob = path.read_bytes()
        with np.load(path, allow_pickle=False) as arrays:
            named = dict(arrays)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no exported parameters there ({error}); make them with gidd-jax export") from error
    tree: dict[str, Any] = {}
    for name, value in named.items():
        *folders, leaf = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = value
    return tree, hashlib.sha256(blob).hexdigest()


def adopt(given: Tree, fresh: Tree) -> Tree:
    """``given`` where it has the names and shapes of ``fresh``; raises InputError naming what differs."""
    ours = {train.path_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(fresh)}
    theirs = {train.path_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(given)}
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            there, here = theirs.get(name, "not in it"), ours.get(name, "none")
            raise InputError(
                f"--init-from holds another model: its {name} is {there}, this one's {here}; give the flags it was "
                "trained with, as its config.json has them"
            )
    return given
