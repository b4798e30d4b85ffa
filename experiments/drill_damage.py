"""Files that are not as they were written: cut short, emptied, one bit flipped, gone."""

import pathlib
import shutil
from collections import Counter

import numpy as np

from experiments.drill_tools import Ended, Found, here, same, sweep

STEPS, EVERY = 60, 20
"""Checkpoints 40 and 60 are kept, with the parts of 20, 40 and 60."""
HOWS = ("cut short", "emptied", "one bit flipped", "gone")


def damages(folder: pathlib.Path, flips: int, rng: np.random.Generator) -> list[Found]:
    """Every file of the newest checkpoint, both checkpoints, every part, the table and the record."""
    whole = folder / "whole"
    first = here(sweep(whole, STEPS, EVERY))
    if first.status:
        raise RuntimeError(first.told)
    return [
        _newest(whole, folder / "damaged", rng),
        _both(whole, folder / "damaged", rng),
        _parts(whole, folder / "damaged", rng),
        _table(whole, folder / "damaged", rng),
        _record(whole, folder / "damaged", flips, rng),
    ]


def damage(path: pathlib.Path, how: str, rng: np.random.Generator) -> None:
    """Spoils one file."""
    blob = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
        return
    if how == "cut short":
        blob = blob[: rng.integers(1, len(blob))]
    elif how == "emptied":
        blob = b""
    else:
        blob[rng.integers(len(blob))] ^= 1 << rng.integers(8)
    path.write_bytes(bytes(blob))


def _again(whole: pathlib.Path, out: pathlib.Path, spoilt: list[str], how: str, rng: np.random.Generator) -> Ended:
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(whole, out)
    for name in spoilt:
        damage(out / name, how, rng)
    return here(sweep(out, STEPS, EVERY))


def _files(whole: pathlib.Path, below: str) -> list[str]:
    return sorted(str(path.relative_to(whole)) for path in (whole / below).rglob("*") if path.is_file())


def _newest(whole: pathlib.Path, out: pathlib.Path, rng: np.random.Generator) -> Found:
    files, right = _files(whole, f"checkpoints/g0-0/{STEPS:08d}"), []
    for name in files:
        for how in HOWS:
            done = _again(whole, out, [name], how, rng)
            named = (
                done.one_line and f"checkpoints/g0-0/{STEPS:08d}" in done.told and "checkpoint before it" in done.told
            )
            right.append(done.status == 0 and named and same(whole, out))
    seen = (
        f"each of {len(files)} files {', '.join(HOWS)}: {sum(right)} times named in one line, the checkpoint before it "
        "used, table and state equal"
    )
    return Found("damage to the newest checkpoint", len(right), seen, all(right))


def _both(whole: pathlib.Path, out: pathlib.Path, rng: np.random.Generator) -> Found:
    right = []
    for how in HOWS:
        steps = [path.name for path in sorted((whole / "checkpoints" / "g0-0").iterdir())]
        spoilt = [str(rng.choice(_files(whole, f"checkpoints/g0-0/{step}"))) for step in steps]
        done = _again(whole, out, spoilt, how, rng)
        right.append(done.status == 2 and done.one_line and "no sound checkpoint is left" in done.told)
    return Found(
        "damage to both checkpoints", len(right), "refused in one line, status 2; nothing trained over them", all(right)
    )


def _parts(whole: pathlib.Path, out: pathlib.Path, rng: np.random.Generator) -> Found:
    right, ends = [], Counter()
    for name in _files(whole, "metrics"):
        for how in HOWS:
            done = _again(whole, out, [name], how, rng)
            part = pathlib.Path(name).name
            named = done.one_line and part in done.told
            if part == f"part-{STEPS:08d}.parquet":
                right.append(done.status == 0 and named and same(whole, out))
                ends["named, the checkpoint before it used"] += 1
            else:  # Both checkpoints were written with it.
                right.append(done.status == 2 and named and "no sound checkpoint is left" in done.told)
                ends["refused by name"] += 1
    return Found(
        "damage to each part of the table", len(right), ", ".join(f"{n} {end}" for end, n in ends.items()), all(right)
    )


def _table(whole: pathlib.Path, out: pathlib.Path, rng: np.random.Generator) -> Found:
    right = []
    for how in HOWS:
        done = _again(whole, out, ["metrics.parquet"], how, rng)
        right.append(done.status == 0 and not done.told and same(whole, out))
    return Found("damage to metrics.parquet", len(right), "made again from its parts, equal", all(right))


def _record(whole: pathlib.Path, out: pathlib.Path, flips: int, rng: np.random.Generator) -> Found:
    """Whatever a spoilt config.json says, the command ends in one line or with the same table, never with another."""
    ends, wrong = Counter(), []
    for i in range(flips):
        done = _again(whole, out, ["config.json"], "one bit flipped" if i % 4 else "cut short", rng)
        if done.status == 0 and same(whole, out):
            ends["same table"] += 1
        elif done.status == 2 and done.one_line:
            ends["refused in one line"] += 1
        else:
            wrong.append(f"{done} {(out / 'config.json').read_bytes()!r}")
    if wrong:
        (out.parent / "config_wrong.txt").write_text("\n\n".join(wrong))
    seen = ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
    return Found("damage to config.json", flips, seen, not wrong)
