"""Time before the first step: traced, lowered and compiled against R and depth, and a sweep's start cold and warm."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks import subjects
from benchmarks.flops import Rates
from benchmarks.harness import Pace, Row, Sample

STEPS = 2

WATCHED = """
import sys, time
import jax
from gidd_jax import cli
wait = jax.block_until_ready
def told(what):
    wait(what)
    print("waited until", time.monotonic())
    return what
jax.block_until_ready = told
sys.exit(cli.main())
"""
"""`gidd-jax` that tells when what it waited for was done."""


class Sizes(NamedTuple):
    """What trains, its replicas, depths of one replica; sweeps that are started; programs and starts of each."""

    subject: subjects.Subject
    counts: tuple[int, ...]
    depths: tuple[int, ...]
    starts: tuple[subjects.Subject, ...]
    repeats: int


SCALES = {
    "full": Sizes(subjects.TOWERS, (1, 64), (4,), (subjects.TOWERS, subjects.POSTS), 2),
    "quick": Sizes(subjects.SPINNERS, (1, 16), (), (subjects.SPINNERS,), 1),
    "tiny": Sizes(subjects.SPINNERS, (1, 2, 3), (), (), 1),
}


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """The training program with the compile cache off; then processes of their own, with an empty and a full cache."""
    deeper = [(1, {"layers": depth}) for depth in sizes.depths]
    for count, depth in [(count, {}) for count in sizes.counts] + deeper:
        made = [subjects.rows(sizes.subject.but(**depth), count).advance for _ in range(sizes.repeats)]
        whole = Sample(tuple(each.trace_s + each.lower_s + each.compile_s for each in made), 1)
        middle = sorted(made, key=lambda each: each.compile_s)[len(made) // 2]
        note = f"traced {middle.trace_s:.2f} s, lowered {middle.lower_s:.2f} s"
        yield Row("compile/training program", {"R": count} | depth, whole, middle, note=note)
    for subject in sizes.starts:
        yield from _starts(subject, sizes.repeats)


def _starts(subject: subjects.Subject, repeats: int) -> Iterator[Row]:
    """Wall time of `gidd-jax sweep` from nothing to the end of its first steps, and to its table and figures."""
    with tempfile.TemporaryDirectory() as folder:
        cold, *warm = [_sweep(folder, subject) for _ in range(1 + repeats)]
    params = {"study": subject.study.name, "data": subject.settings.get("data", ""), "steps": STEPS, "R": 1}
    told = "the same again, every program in the compile cache"
    for name, taken, note in (("cold", [cold], "a process: imports, data, compile"), ("warm", warm, told)):
        first, end = (Sample(each, 1) for each in zip(*taken, strict=True))
        yield Row(f"compile/{name} start, first step", params, first, note=note)
        yield Row(f"compile/{name} start, to the end", params, end, note=f"{note}, evaluations, table, figures")


def _sweep(folder: str, subject: subjects.Subject) -> tuple[float, float]:
    """Seconds to the end of the first training call, which is the first thing that a sweep waits for; and of all."""
    with tempfile.TemporaryDirectory(dir=folder) as out:
        settings = subject.settings | {"steps": STEPS}
        flags = [word for name, value in settings.items() for word in _flag(name.replace("_", "-"), value)]
        command = [sys.executable, "-c", WATCHED, "sweep", subject.study.name, "--out", f"{out}/sweep"]
        about = os.environ | {"XDG_CACHE_HOME": str(pathlib.Path(folder) / "cache")}
        about.pop("JAX_COMPILATION_CACHE_DIR", None)
        start = time.monotonic()
        ran = subprocess.run([*command, *flags, "--quiet"], check=True, capture_output=True, env=about, text=True)
        end = time.monotonic()
        return float(ran.stdout.partition("waited until ")[2].split()[0]) - start, end - start


def _flag(name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        return (f"--{name}" if value else f"--no-{name}",)
    return f"--{name}", str(value)
