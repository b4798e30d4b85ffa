"""``gidd-jax report DIR ...``: one HTML page of a sweep, or of several side by side."""

import argparse
import contextlib
import dataclasses
import importlib
import pathlib
from typing import Any

from gidd_jax import files
from gidd_jax.commands import flags
from gidd_jax.errors import InputError

EXAMPLE = "gidd-jax report runs/a runs/b --out a_and_b.html"


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Writes the page, whole or not at all, from the files of the sweeps alone."""
    parser.add_argument("directories", nargs="+", type=pathlib.Path, metavar="DIR", help="a finished sweep")
    parser.add_argument("--dial", metavar="NAME", help="what stands on the horizontal axis [the dial of the sweep]")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="the page [report.html in the first DIR]")
    args = parser.parse_args(arguments)
    out = args.out or args.directories[0] / "report.html"
    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise InputError(f"--out {out}: give a file name that ends in .html")
    if args.out and not out.parent.is_dir():
        raise InputError(f"--out {out}: no such directory {out.parent}")
    from gidd_jax import report

    found = report.sweeps(args.directories)
    dial = report.dial_of(found, args.dial)
    page = report.build(found, dial, _known(found[0].study), [_printed(sweep, dial) for sweep in found])
    files.write(out, lambda pending: pending.write_bytes(page.encode()) and None)
    print(out)
    return 0


def _known(name: str) -> Any:
    """What the study's code says of its dials and settings; nothing where there is none, or no JAX to import it."""
    from gidd_jax.config import dials
    from gidd_jax.report import Known

    with contextlib.suppress(InputError, ImportError):
        study = flags.study(name)
        told = dials(study.Hyper)
        fields = dataclasses.fields(study.Config)
        return Known(
            {field: dial.unit for field, (_, dial) in told.items()},
            {field.name: field.metadata.get("help", "") for field in fields},
            {field.name: field.default for field in fields},
        )
    return Known()


def _printed(sweep: Any, dial: str) -> str:
    """The table of ``gidd-jax plot``; "" where the study has none or the sweep is too small for it."""
    from gidd_jax.commands.plot import VIEWS

    if sweep.study not in VIEWS:
        return ""
    module, name = VIEWS[sweep.study][0].split(":")
    with contextlib.suppress(InputError):
        return getattr(importlib.import_module(module), name)(sweep.table, dial)
    return ""
