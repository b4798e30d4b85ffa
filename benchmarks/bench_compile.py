"""Time before the first step: traced, lowered and compiled against R and depth, and a sweep's start cold and warm."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks import subjects
from benchmarks.flops import Rates
from benchmarks.harness import Pace, Row, Sample

STEPS = 2


class Sizes(NamedTuple):
    """What trains, its replicas, depths of one replica; sweeps that are started; programs and starts of each."""

    subject: subjects.Subject
    counts: tuple[int, ...]
    depths: tuple[int, ...]
    starts: tuple[subjects.Subject, ...]
    repeats: int


SCALES = {
    "full": Sizes(subjects.TOWERS, (1, 64), (4,), (subjects.TOWERS,), 2),
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
    """Wall time of `gidd-jax sweep` from nothing to its first steps, evaluation and table."""
    with tempfile.TemporaryDirectory() as folder:
        cold = Sample((_sweep(folder, subject),), 1)
        warm = Sample(tuple(_sweep(folder, subject) for _ in range(repeats)), 1)
    params = {"study": subject.study.name, "steps": STEPS, "R": 1}
    yield Row("compile/cold start", params, cold, note="a process: imports, data, compile, a step, evaluations, table")
    yield Row("compile/warm start", params, warm, note="the same again, every program in the compile cache")


def _sweep(folder: str, subject: subjects.Subject) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as out:
        settings = subject.settings | {"steps": STEPS}
        flags = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        command = [sys.executable, "-m", "gidd_jax.cli", "sweep", subject.study.name, "--out", f"{out}/sweep"]
        about = os.environ | {"XDG_CACHE_HOME": str(pathlib.Path(folder) / "cache")}
        about.pop("JAX_COMPILATION_CACHE_DIR", None)
        start = time.perf_counter()
        subprocess.run([*command, *flags, "--quiet"], check=True, capture_output=True, env=about)
        return time.perf_counter() - start
