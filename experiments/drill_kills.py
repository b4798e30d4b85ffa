"""Processes stopped from outside: killed, interrupted once and twice, and two at once on one directory."""

import pathlib
import signal
import time

import numpy as np
import pandas as pd

from experiments.drill_tools import Ended, Found, begin, ended, finish, parts, same, saved, shown, sweep, wait_until

EVERY = 20_000
"""Steps between checkpoints: training takes about as long as writing one."""
STEPS = 250 * EVERY
"""More than fifty kills let pass, each two or three checkpoints after the one before."""
CALL = 50 * EVERY
"""Steps between checkpoints of the sweep whose calls are long, as long as a call is made."""
MOMENTS = ("training", "writing", "training", "writing", "start-up")
AT_ONCE = 10.0
"""Seconds a second Ctrl-C may take: Python hears it when a call returns, and two of two seconds may be under way."""


def kills(folder: pathlib.Path, count: int, rng: np.random.Generator) -> tuple[Found, pd.DataFrame]:
    """SIGKILL in start-up, in training and while a checkpoint is being written, then to the end -> line, every kill."""
    out, plain, log = folder / "killed", folder / "undisturbed", folder / "log"
    whole = finish(sweep(plain, STEPS, EVERY), log)
    lines, committed, startup = [], 0, 3.0
    for kill in range(count):
        moment, before, start = MOMENTS[kill % len(MOMENTS)], parts(out), time.monotonic()
        process = begin(sweep(out, STEPS, EVERY), log)
        if moment == "start-up":
            time.sleep(rng.uniform(0, startup))
        else:
            wait_until(lambda before=before: parts(out) > before, process)
            startup, more = time.monotonic() - start, len(before) + int(rng.integers(1, 5))
            wait_until(lambda more=more: len(parts(out)) >= more, process)
            time.sleep(rng.uniform(0, 0.1))
        if moment == "writing":
            wait_until(lambda: any(out.glob("checkpoints/*/.pending-*")), process)
            time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.wait()
        resumed, step = shown(log)
        line = {"kill": kill + 1, "moment": moment, "resumed_from": resumed, "last_step_shown": step}
        line |= {"saved": saved(out), "left": _left(out), "lost": resumed is not None and resumed != committed}
        committed = line["saved"]
        lines.append(line | {"landed": process.returncode == -signal.SIGKILL})
    table = pd.DataFrame(lines).astype({"resumed_from": "Int64", "last_step_shown": "Int64"})
    last = finish(sweep(out, STEPS, EVERY), log)
    equal = same(plain, out)
    went = ", ".join(f"{n} {left}" for left, n in table["left"].value_counts().sort_index().items())
    seen = (
        f"{table['landed'].sum()} landed up to step {committed} of {STEPS}, leaving {went}; each start went on from "
        f"the newest checkpoint; table and state {'equal to the bit' if equal else 'DIFFER'}"
    )
    held = whole.status == last.status == 0 and equal and table["landed"].all() and not table["lost"].any()
    return Found("SIGKILL at random moments", count, seen, bool(held)), table


def _left(out: pathlib.Path) -> str:
    if any(out.glob("checkpoints/*/.pending-*")):
        return "half a checkpoint"
    if any(out.glob("**/.*pending*")):
        return "half a file"
    if parts(out)[-1:] > [saved(out)]:
        return "a part without its checkpoint"
    return "nothing unfinished"


def interrupts(folder: pathlib.Path, rng: np.random.Generator) -> list[Found]:
    """One Ctrl-C saves and says so; two stop at once; one in start-up leaves nothing in the way."""
    return [_once(folder, rng), _twice(folder, rng), _at_the_start(folder, rng)]


def _once(folder: pathlib.Path, rng: np.random.Generator, tries: int = 5) -> Found:
    out, plain, log = folder / "once", folder / "once-plain", folder / "log"
    steps, right, stops = STEPS // 2, [], []
    for _ in range(tries):
        before = parts(out)
        process = begin(sweep(out, steps, EVERY), log)
        wait_until(lambda before=before: parts(out) > before, process)
        time.sleep(rng.uniform(0, 0.5))
        process.send_signal(signal.SIGINT)
        stopped = ended(process, log)
        stops.append(saved(out))
        right.append(stopped.status == 130 and stopped.one_line and f"stopped at step {stops[-1]} of" in stopped.told)
    equal = _both_end(out, plain, log, steps, EVERY)
    seen = f"status 130, saved at steps {', '.join(map(str, stops))}; the end {'equal' if equal else 'DIFFERS'}"
    return Found("Ctrl-C once", tries, seen, all(right) and equal)


def _twice(folder: pathlib.Path, rng: np.random.Generator, tries: int = 5) -> Found:
    plain, log = folder / "twice-plain", folder / "log"
    right, took = [], []
    for i in range(tries):
        out = folder / f"twice-{i}"
        process = begin(sweep(out, 5 * CALL, CALL), log)
        wait_until(lambda: "compiling" in log.read_text(errors="replace"), process)
        time.sleep(rng.uniform(0.5, 2))
        process.send_signal(signal.SIGINT)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        stopped = ended(process, log)
        took.append(time.monotonic() - start)
        right.append(stopped.status == 130 and stopped.one_line and took[-1] < AT_ONCE)
    equal = _both_end(out, plain, log, 5 * CALL, CALL)
    seen = f"status 130, gone {min(took):.1f} to {max(took):.1f} s later; the end {'equal' if equal else 'DIFFERS'}"
    return Found("Ctrl-C twice", tries, seen, all(right) and equal)


def _at_the_start(folder: pathlib.Path, rng: np.random.Generator, tries: int = 10) -> Found:
    out, plain, log = folder / "early", folder / "early-plain", folder / "log"
    right = []
    for _ in range(tries):
        process = begin(sweep(out, STEPS, EVERY), log)
        time.sleep(rng.uniform(0.2, 2.5))
        process.send_signal(signal.SIGINT)
        stopped = ended(process, log)
        right.append(stopped.status == 130 and stopped.one_line)
    equal = _both_end(out, plain, log, STEPS, EVERY)
    seen = f"status 130 in one line; the end {'equal' if equal else 'DIFFERS'}"
    return Found("Ctrl-C in start-up", tries, seen, all(right) and equal)


def _both_end(out: pathlib.Path, plain: pathlib.Path, log: pathlib.Path, steps: int, every: int) -> bool:
    ends = [finish(sweep(path, steps, every), log).status for path in (out, plain)]
    return ends == [0, 0] and same(out, plain)


def second_process(folder: pathlib.Path, rng: np.random.Generator, tries: int = 3) -> Found:
    """Another start on a directory that is being trained in is refused and changes nothing."""
    out, plain, log = folder / "shared", folder / "shared-plain", folder / "log"
    process = begin(sweep(out, STEPS, EVERY), log)
    wait_until(lambda: bool(parts(out)), process)
    refused: list[Ended] = []
    for _ in range(tries):
        time.sleep(rng.uniform(0, 0.5))
        refused.append(finish(sweep(out, STEPS, EVERY), folder / "log-second"))
    alone = process.poll() is None
    right = [
        each.status == 2 and each.one_line and "another process is training there" in each.told for each in refused
    ]
    first = ended(process, log)
    equal = first.status == 0 and _both_end(out, plain, log, STEPS, EVERY)
    seen = f"refused in one line, status 2, while the first trained on; its end {'equal' if equal else 'DIFFERS'}"
    return Found("a second process on the directory", tries, seen, all(right) and alone and equal)
