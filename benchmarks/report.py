"""Rows as JSON lines for machines and as an aligned table for people.

python -m benchmarks.report benchmarks/results/FILE.jsonl ...
"""

import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
from importlib import metadata
from typing import Any

import jax

from benchmarks.flops import Rates, model_flops_share
from benchmarks.harness import Row

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("gidd-jax", "jax", "jaxlib", "flax", "numpy")
HEADINGS = ("benchmark", "parameters", "median", "spread", "compile", "rate", "against it", "of floor", "temporary")


def environment(command: str) -> dict[str, Any]:
    """What every line says of where it comes from."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind if device.platform != "cpu" else _processor(),
        "platform": device.platform,
        "devices": jax.device_count(),
        "cores": os.cpu_count(),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES},
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "revision": _revision(),
        "command": command,
    }


def as_line(row: Row) -> dict[str, Any]:
    """One line, ready for JSON; load_1m is the load average (processes that want a core) when the row was done."""
    taken, made = row.sample, row.compiled
    line: dict[str, Any] = {"name": row.name, "params": row.params, "note": row.note}
    line["date"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    line["load_1m"] = round(os.getloadavg()[0], 2)
    quartiles = taken.quartiles if taken else None
    return line | {
        "median_s": taken.median if taken else None,
        "min_s": min(taken.seconds) if taken else None,
        "max_s": max(taken.seconds) if taken else None,
        "iqr_s": quartiles[1] - quartiles[0] if quartiles else None,
        "repetitions": len(taken.seconds) if taken else None,
        "inner": taken.inner if taken else None,
        "trace_s": made.trace_s if made else None,
        "lower_s": made.lower_s if made else None,
        "compile_s": made.compile_s if made else None,
        "temp_bytes": made.temp_bytes if made else None,
        "against": row.against,
        "ratio": row.ratio.median if row.ratio else None,
        "ratio_low": row.ratio.low if row.ratio else None,
        "ratio_high": row.ratio.high if row.ratio else None,
        "memory_ratio": row.memory_ratio,
        "floor_s": row.floor_s,
        "roofline_share": row.roofline_share,
        "flops_per_s": row.flops / taken.median if row.flops and taken else None,
        "peak_share": _peak_share(row),
        "items_per_s": row.items / taken.median if row.items and taken else None,
        "unit": row.unit,
    }


def table(lines: list[dict[str, Any]]) -> str:
    """Lines as columns that stand under each other; notes follow, numbered."""
    notes: list[str] = []
    cells = [HEADINGS]
    for line in lines:
        mark = ""
        if line["note"]:
            notes += [] if line["note"] in notes else [line["note"]]
            mark = f" [{notes.index(line['note']) + 1}]"
        cells.append((line["name"] + mark, _parameters(line["params"]), *_figures(line)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([*text, *(f"[{i + 1}] {note}" for i, note in enumerate(notes))])


def brief(line: dict[str, Any]) -> str:
    """One line for people, as soon as it is there."""
    return "  ".join(cell for cell in (line["name"], _parameters(line["params"]), *_figures(line)) if cell)


def limits(rates: Rates) -> str:
    """What the machine was measured to do, in words."""
    return f"{rates.flops / 1e9:.4g} GFLOP/s in a float32 product, {rates.bytes / 1e9:.3g} GB/s read and written"


def _figures(line: dict[str, Any]) -> tuple[str, ...]:
    def shown(name: str, form: Any) -> str:
        return "" if line[name] is None else form(line[name])

    against = ""
    if line["ratio"] is not None:
        against = f"{line['ratio']:.3g} x [{line['ratio_low']:.3g}, {line['ratio_high']:.3g}] {line['against']}"
    memory = shown("temp_bytes", size)
    if line["memory_ratio"] is not None:
        memory += f" ({line['memory_ratio']:.2%})"
    return (
        shown("median_s", seconds),
        shown("iqr_s", lambda s: "±" + seconds(s / 2)),
        shown("compile_s", seconds),
        _rate(line),
        against,
        shown("roofline_share", "{:.0%}".format),
        memory,
    )


def _rate(line: dict[str, Any]) -> str:
    parts = []
    if line["flops_per_s"] is not None:
        peak = "" if line["peak_share"] is None else f" ({line['peak_share']:.1%} of peak)"
        parts.append(f"{line['flops_per_s'] / 1e9:.3g} GFLOP/s{peak}")
    if line["items_per_s"] is not None:
        parts.append(f"{line['items_per_s']:.3g} {line['unit']}/s")
    return ", ".join(parts)


def _peak_share(row: Row) -> float | None:
    """Operations a second over the datasheet's peak in the row's dtype, where the device is listed."""
    if not (row.flops and row.sample):
        return None
    kind = jax.devices()[0].device_kind
    return model_flops_share(row.flops, row.sample.median, kind, row.params.get("dtype", "float32"))


def seconds(value: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, length in (("s", 1.0), ("ms", 1e-3)):
        if value >= length:
            return f"{value / length:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"


def size(value: float) -> str:
    """Bytes in MiB, or in GiB from 1 GiB on."""
    return f"{value / 2**30:.3g} GiB" if value >= 2**30 else f"{value / 2**20:.3g} MiB"


def _parameters(params: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in params.items())


def _processor() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    names = [x for x in info.read_text().splitlines() if x.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def _revision() -> str:
    found = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    print(table([json.loads(line) for path in sys.argv[1:] for line in pathlib.Path(path).read_text().splitlines()]))
