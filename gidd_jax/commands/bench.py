"""``gidd-jax bench [NAME ...]``: how fast and how large, with what it is compared to, on this machine."""

import argparse
import concurrent.futures
import contextlib
import importlib
import json
import multiprocessing
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import gidd_jax
from gidd_jax import files
from gidd_jax.commands import flags
from gidd_jax.errors import InputError

EXAMPLE = "gidd-jax bench kuramoto --quick --out /tmp/kuramoto.jsonl"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Measures, prints each row when it is done and the table at the end; with --out writes one JSON line a row."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks/bench_NAME.py [all of them]")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run, not how fast is it")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and stop")
    parser.add_argument("--host-devices", type=int, metavar="N", help="CPU only: devices to split it into [one a core]")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="write the rows as JSON lines")
    args = parser.parse_args(arguments)
    there = _found()
    if args.list:
        print("\n".join(there))
        return 0
    if unknown := [name for name in args.names if name not in there]:
        raise InputError(f"no benchmark {unknown[0]!r}; there are {', '.join(there)}")
    if args.out and (args.out.is_dir() or not args.out.parent.is_dir()):
        raise InputError(f"{args.out}: give a file in a folder that exists")
    scale = "quick" if args.quick else "full"
    command = " ".join(["gidd-jax", "bench", *arguments])
    with importlib.import_module("benchmarks.harness").hasty() if args.quick else contextlib.nullcontext():
        flags.prepare_jax(args.host_devices)
        lines = _measured(args.names or there, scale, command, args.out, args.host_devices)
    print(importlib.import_module("benchmarks.report").table(lines))
    return 0


def _measured(
    names: list[str], scale: str, command: str, out: pathlib.Path | None, host_devices: int | None
) -> list[dict[str, Any]]:
    """The rows as lines; ``out`` holds those that are done at any time."""
    import jax

    report = importlib.import_module("benchmarks.report")
    cached = jax.config.jax_enable_compilation_cache
    # A program from the cache would be told as a fast compiler; a quick run tells nothing of speed.
    jax.config.update("jax_enable_compilation_cache", scale == "quick")
    try:
        harness = importlib.import_module("benchmarks.harness")
        rates = harness.measured_rates(*harness.PROBES[scale])
        about = report.environment(command) | {"measured_flops": rates.flops, "measured_bytes": rates.bytes}
        print(f"{about['device']}: {report.limits(rates)}", file=sys.stderr)
        # What tells nothing of speed may run side by side, unless all would want one accelerator's memory.
        hands = jax.device_count() if scale == "quick" and jax.default_backend() == "cpu" else 1
        if min(hands, len(names)) > 1:
            found = _side_by_side(names, scale, rates, hands, host_devices)
        else:
            found = (line for name in names for line in _rows(name, scale, rates))
        lines = []
        for line in found:
            lines.append(line | about)
            print(report.brief(lines[-1]), file=sys.stderr)
            if out:
                files.write_text(out, "\n".join(map(json.dumps, lines)) + "\n")
        return lines
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)


def _rows(name: str, scale: str, rates: Any) -> Iterator[dict[str, Any]]:
    """A benchmark's rows as lines, each when it is done."""
    bench, harness = (importlib.import_module(f"benchmarks.{module}") for module in (f"bench_{name}", "harness"))
    for row in bench.rows(bench.SCALES[scale], harness.PACES[scale], rates):
        yield importlib.import_module("benchmarks.report").as_line(row)


def _side_by_side(
    names: list[str], scale: str, rates: Any, hands: int, host_devices: int | None
) -> Iterator[dict[str, Any]]:
    """The same in the same order, of ``hands`` processes that take a benchmark each."""
    harness = importlib.import_module("benchmarks.harness")
    with concurrent.futures.ProcessPoolExecutor(
        hands, multiprocessing.get_context("spawn"), flags.prepare_jax, (host_devices,)
    ) as pool:
        first = sorted(names, key=lambda name: name not in harness.LONG)
        found = {name: pool.submit(_all_rows, name, scale, rates) for name in first}
        for name in names:
            yield from found[name].result()


def _all_rows(name: str, scale: str, rates: Any) -> list[dict[str, Any]]:
    return list(_rows(name, scale, rates))


def _found() -> list[str]:
    """The benchmarks of the checkout we stand in, or that this package is run from; makes them importable."""
    checkout = pathlib.Path(gidd_jax.__file__).parent.parent
    for root in (pathlib.Path.cwd(), checkout):
        if (root / "benchmarks" / "harness.py").is_file():
            if str(root) not in sys.path:
                sys.path.insert(0, str(root))
            return sorted(p.stem.removeprefix("bench_") for p in (root / "benchmarks").glob("bench_*.py"))
    raise InputError(
        "no benchmarks/ folder here, and the installed package holds none: run this from a checkout of the source "
        "or an unpacked source distribution"
    )
