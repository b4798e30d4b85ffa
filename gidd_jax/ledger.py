"""The sweep directory: what was asked, what is done, and refusing whatever does not belong to it.

    DIR/config.json                       study, versions, and by group: config, data fingerprint, cohorts of rows
    DIR/checkpoints/<cohort>/<step>/      the two newest of each cohort
    DIR/metrics/<cohort>/part-<step>.parquet
    DIR/metrics.parquet                   all parts, in one order
    DIR/timing.jsonl                      wall times, kept out of the table

Rows that start together are a *cohort*; rows added later make another.
"""

import contextlib
import fcntl
import json
import pathlib
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from gidd_jax import __version__, checkpoint, config, files, grid
from gidd_jax.errors import InputError
from gidd_jax.record import read, table

__all__ = [
    "awaited",
    "check_identity",
    "cohort_hypers",
    "locked",
    "log_time",
    "new_cohort",
    "opened",
    "read",
    "table",
    "versions",
    "wait_for_all",
    "write",
]

POLL_SECONDS = 0.2


def versions(devices: Sequence[jax.Device]) -> dict[str, str]:
    """What the last bits depend on besides the config."""
    device = devices[0]
    return {
        "gidd_jax": __version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": device.device_kind if device.platform != "cpu" else f"{platform.machine()} CPU",
        "devices": str(len(devices)),
    }


@contextlib.contextmanager
def locked(directory: pathlib.Path, host: int = 0) -> Iterator[None]:
    """Holds the directory for one process of a host; raises InputError where another does, or it is read-only."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        entries = [path.name for path in directory.iterdir() if not path.name.startswith(".lock")]
        if entries and not (directory / "config.json").exists() and not _only_pending(entries):
            raise InputError(f"{directory}: not empty and not a sweep directory; give a new one")
        lock = directory / f".lock{host or ''}"
        handle = lock.open("w")
    except OSError as error:
        raise InputError(f"{directory}: cannot be written ({error.strerror}); give another directory") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{directory}: another process is training there; wait for it or stop it") from error
        try:
            yield
        finally:
            if not (directory / "config.json").exists():
                lock.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    directory.rmdir()


def write(directory: pathlib.Path, record: dict[str, Any]) -> None:
    """config.json, whole or not at all."""
    files.write_text(directory / "config.json", json.dumps(record, indent=1) + "\n")


def opened(directory: pathlib.Path, study: Any, devices: Sequence[jax.Device]) -> dict[str, Any]:
    """The record of a sweep that goes on, or a new one; raises InputError for another study's directory."""
    if not (directory / "config.json").exists():
        return {"study": study.name, "command": sys.argv, "versions": versions(devices), "groups": []}
    record = read(directory)
    if record.get("study") != study.name:
        raise InputError(f"{directory}: holds a sweep of {record.get('study')!r}, not of {study.name!r}")
    named = {cohort["name"] for group in record["groups"] for cohort in group["cohorts"]}
    for path in (*directory.glob("checkpoints/*"), *directory.glob("metrics/*")):
        if path.name not in named:
            record_path = directory / "config.json"
            raise InputError(f"{path}: is of no cohort that {record_path} names; was one of the two altered?")
    now, then = versions(devices), record.get("versions", {})
    if changed := [f"{name} {then.get(name)} -> {now[name]}" for name in now if then.get(name) != now[name]]:
        print(f"gidd-jax: {directory}: {', '.join(changed)}; rows trained now may differ in rounding", file=sys.stderr)
    return record


def check_identity(directory: pathlib.Path, group: dict[str, Any], settings: Any, fingerprint: str) -> None:
    """Raises InputError, by name, where a group's config or data differs from the one the directory was made with.

    More steps are allowed where the learning rate does not depend on their number (a constant schedule).
    """
    recorded = config.identity(config.from_json(type(settings), group["config"]))
    for name, value in config.identity(settings).items():
        old, flag = recorded.get(name), f"--{name.replace('_', '-')}"
        if old == value:
            continue
        if name == "steps" and value > old:
            if getattr(settings, "schedule", "constant") == "constant":
                continue
            raise InputError(f"{directory}: {flag} {old} -> {value} needs --schedule constant, not {settings.schedule}")
        raise InputError(
            f"{directory}: made with {flag} {_said(old)}, now {_said(value)}; give that or a new directory"
        )
    if group["fingerprint"] != fingerprint:
        raise InputError(f"{directory}: made with other data ({group['fingerprint'][:12]}), now {fingerprint[:12]}")


def cohort_hypers(study: Any, cohort: dict[str, Any]) -> Any:
    """The Hyper of a cohort's rows, as recorded."""
    return grid.rows(study, **cohort["hypers"])


def new_cohort(name: str, hypers: Any, host: int) -> dict[str, Any]:
    """A cohort's record: its name, the host that trains it, and the Hyper columns of its rows."""
    return {
        "name": name,
        "host": host,
        "hypers": {field: np.asarray(column).tolist() for field, column in hypers._asdict().items()},
    }


def awaited(
    directory: pathlib.Path, wanted: list[set[str]], study: Any, devices: Sequence[jax.Device]
) -> dict[str, Any]:
    """The record, once the first host has written one that holds the ``wanted`` rows of every group."""
    while True:
        groups = read(directory)["groups"] if (directory / "config.json").exists() else []
        held = [{row for c in g["cohorts"] for row in grid.row_ids(cohort_hypers(study, c))} for g in groups]
        if len(held) >= len(wanted) and all(w <= h for w, h in zip(wanted, held, strict=False)):
            return opened(directory, study, devices)
        time.sleep(POLL_SECONDS)


def wait_for_all(directory: pathlib.Path, record: dict[str, Any]) -> None:
    """Returns when every cohort of the record has its last checkpoint, whichever host writes it."""
    ends = {c["name"]: group["config"]["steps"] for group in record["groups"] for c in group["cohorts"]}
    told = False
    while late := sum(checkpoint.steps(directory / "checkpoints" / name)[-1:] != [end] for name, end in ends.items()):
        if not told:
            print(f"gidd-jax: {directory}: waiting for other hosts, {late} of {len(ends)} cohorts", file=sys.stderr)
            told = True
        time.sleep(POLL_SECONDS)


def log_time(directory: pathlib.Path | None, **event: Any) -> None:
    """One line in timing.jsonl."""
    if directory is not None:
        path = directory / "timing.jsonl"
        with files.named(path), path.open("a") as handle:
            handle.write(json.dumps({"at": round(time.time(), 3), **event}) + "\n")


def _said(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _only_pending(entries: list[str]) -> bool:
    return all(name.endswith(".pending.json") or name.startswith(".config.json.") for name in entries)
