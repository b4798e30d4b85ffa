"""Disks that are full or read-only: small file systems of their own, mounted where only this drill sees them."""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys

from experiments.drill_tools import PATIENCE, Ended, Found, here, same, sweep, without_bar

STEPS, EVERY = 200, 20
SIZES = (8, 32, 64, 100, 140, 180, 220)
"""KiB of the disk, one after the other; a finished run with its figure takes some 300."""


def disks(folder: pathlib.Path) -> list[Found]:
    """A disk that fills up at seven moments, and one that is read-only."""
    plain = folder / "disk-plain"
    here(sweep(plain, STEPS, EVERY))
    if subprocess.run([*_alone(), "true"], capture_output=True).returncode:
        why = "not tried: mounting needs root, or user namespaces"
        return [Found("full disk", 0, why, False), Found("read-only directory", 0, why, False)]
    return [_full(folder, plain), _read_only(folder, plain)]


def _full(folder: pathlib.Path, plain: pathlib.Path) -> Found:
    mount = folder / "full"
    lines = [f"mount -t tmpfs -o size={SIZES[0]}k drill {mount}"]
    for k, size in enumerate(SIZES):
        lines += [f"mount -o remount,size={size}k {mount}", _command(mount / "run", folder, k)]
    lines += [f"mount -o remount,size=64m {mount}", _command(mount / "run", folder, "end")]
    _in_its_own(folder, mount, lines, keep=mount / "run")
    ends = [_ended(folder, k) for k in range(len(SIZES))]
    last, equal = _ended(folder, "end"), same(plain, folder / "kept")
    right = all(end.status in (1, 2) and end.one_line and "No space left on device" in end.told for end in ends)
    seen = f"one line each, status {' '.join(str(end.status) for end in ends)}; with space again it goes on, the end "
    return Found("full disk", len(ends), seen + ("equal" if equal else "DIFFERS"), right and last.status == 0 and equal)


def _read_only(folder: pathlib.Path, plain: pathlib.Path) -> Found:
    mount = folder / "read_only"
    lines = [
        f"mount -t tmpfs -o size={SIZES[4]}k drill {mount}",
        _command(mount / "run", folder, "half"),
        f"mount -o remount,ro,size=64m {mount}",
        _command(mount / "run", folder, 0),
        _command(mount / "run", folder, 1, ["plot", str(plain), "--out", str(mount / "figures")]),
        _command(mount / "new", folder, 2),
        f"mount -o remount,rw {mount}",
        _command(mount / "run", folder, "end"),
    ]
    _in_its_own(folder, mount, lines, keep=mount / "run")
    ends = [_ended(folder, k) for k in range(3)]
    last = _ended(folder, "end")
    right = all(end.status in (1, 2) and end.one_line and "Read-only file system" in end.told for end in ends)
    equal = last.status == 0 and same(plain, folder / "kept")
    seen = (
        f"sweep, plot, sweep anew: one line each, status {' '.join(str(end.status) for end in ends)}; writable again "
    )
    return Found(
        "read-only directory",
        len(ends),
        f"{seen}it goes on, the end {'equal' if equal else 'DIFFERS'}",
        right and equal,
    )


def _alone() -> list[str]:
    """A mount namespace of its own, with a user namespace where this is not root."""
    return ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]


def _command(out: pathlib.Path, folder: pathlib.Path, name: object, words: list[str] | None = None) -> str:
    command = [sys.executable, "-m", "gidd_jax.cli", *(words or sweep(out, STEPS, EVERY))]
    return f"{shlex.join(command)} > /dev/null 2> {folder}/disk-{name}.log; echo $? > {folder}/disk-{name}.status"


def _in_its_own(folder: pathlib.Path, mount: pathlib.Path, lines: list[str], keep: pathlib.Path) -> None:
    mount.mkdir()
    kept = folder / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    script = "\n".join([*lines, f"cp -r {keep} {kept}"])
    subprocess.run([*_alone(), "sh", "-c", script], check=True, timeout=10 * PATIENCE)


def _ended(folder: pathlib.Path, name: object) -> Ended:
    told = without_bar((folder / f"disk-{name}.log").read_text(errors="replace"))
    return Ended(int((folder / f"disk-{name}.status").read_text()), told)
