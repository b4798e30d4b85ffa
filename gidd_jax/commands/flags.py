"""Flags made from a study's Config and Hyper, so that every field has one and none is described twice."""

import argparse
import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import textwrap
import typing
from typing import Any

from gidd_jax.config import dials
from gidd_jax.errors import InputError

STUDIES = ("sudoku", "language", "phase", "concepts", "pairs", "kuramoto", "syncgap")


def study(name: str) -> Any:
    """The study of that name; raises InputError for a name that is none."""
    if name not in STUDIES:
        raise InputError(f"no study {name!r}; there are {', '.join(STUDIES)}")
    return importlib.import_module(f"gidd_jax.studies.{name}")


def study_in(arguments: list[str]) -> str:
    """The study of the sweep that the arguments name, as its files say; "" where there is none."""
    for word in arguments:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            return str(json.loads((pathlib.Path(word) / "config.json").read_text()).get("study", ""))
    return ""


def add_settings(parser: argparse.ArgumentParser, config: type, explained: bool = True) -> None:
    """One flag for every Config field; a flag that is not given leaves no trace, so presets can fill it.

    Not ``explained``, the help names them only.
    """
    hints = typing.get_type_hints(config)
    names = [_flag(field.name) for field in dataclasses.fields(config)]
    group = parser.add_argument_group("settings (one value for the whole sweep)", None if explained else _listed(names))
    for field in dataclasses.fields(config):
        kind, flag = hints[field.name], _flag(field.name)
        default = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        shown = f" [{default}]" if default not in ("", 0, 0.0) or kind is bool else ""
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": field.metadata["help"] + shown}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is tuple:
            each = typing.get_args(kind)[0]
            options |= {"type": each, "nargs": "+", "metavar": "NAME" if each is str else "N"}
        else:
            options |= {"type": kind, "metavar": kind.__name__.upper()}
            if choices := field.metadata["choices"]:
                options["metavar"] = "{" + ",".join(choices) + "}"
        if not explained:
            options["help"] = argparse.SUPPRESS
        group.add_argument(flag, dest=f"config.{field.name}", **options)


def add_dials(parser: argparse.ArgumentParser, hyper: type, explained: bool = True) -> None:
    """One flag for every Hyper field, each taking one value or several. Not ``explained``, the help names them only."""
    names = [_flag(name) for name in dials(hyper) if name not in ("seed", "coupling")]
    title = "dials (several values make a grid: every combination is a row)"
    group = parser.add_argument_group(title, None if explained else _listed(names))
    seeds = dials(hyper)["seed"][1].help + " [0]"
    group.add_argument(
        "--seeds", dest="hyper.seed", nargs="+", type=int, metavar="N", default=argparse.SUPPRESS, help=seeds
    )
    group.add_argument("--coupling", nargs="+", type=float, metavar="K", help="values of the dial that --dial names")
    for name, (kind, dial) in dials(hyper).items():
        if name in ("seed", "coupling"):  # flags of their own
            continue
        default = hyper._field_defaults[name]
        text = f"{dial.help} [{default:g}]" + (f" ({dial.unit})" if dial.unit else "")
        text = text if explained else argparse.SUPPRESS
        group.add_argument(
            _flag(name), dest=f"hyper.{name}", nargs="+", type=kind, metavar="X", default=argparse.SUPPRESS, help=text
        )


def settings(args: argparse.Namespace, config: type, preset: dict[str, Any] | None = None) -> Any:
    """The Config the flags ask for, on top of a preset."""
    given = {k.removeprefix("config."): v for k, v in vars(args).items() if k.startswith("config.")}
    return config(**(preset or {}) | {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()})


def columns(args: argparse.Namespace, dial: str) -> dict[str, list[int | float]]:
    """The grid's columns the flags ask for; raises InputError where --coupling and the dial's own flag are given."""
    given = {k.removeprefix("hyper."): v for k, v in vars(args).items() if k.startswith("hyper.")}
    if args.coupling is not None:
        if dial in given:
            raise InputError(f"--coupling moves {dial} here, so {_flag(dial)} cannot be given as well")
        given[dial] = args.coupling
    return given


def prepare_jax(host_devices: int | None = None, deterministic: bool = False) -> None:
    """Settings that must stand before the first array: compile cache, host devices, strict order of sums on a GPU.

    Rows on one CPU device leave cores idle, so where no number is given there is a device a core; two at least, because
    XLA rounds a program for one device unlike one for several, and a sweep may go on elsewhere. InputError below one.
    """
    if (host_devices or 1) < 1:
        raise InputError(f"--host-devices {host_devices}: give 1 or more")
    if deterministic:
        # Aborts the process where XLA does not know the flag, so it is set only when asked for.
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
    import jax

    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "gidd_jax" / "xla"
    if not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    told = jax.config.jax_num_cpu_devices > 0 or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if host_devices or not told:
        jax.config.update("jax_num_cpu_devices", host_devices or max(2, _cores()))


def _cores() -> int:
    """Cores that this process is bound to, or less where its container has a quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = map(int, pathlib.Path("/sys/fs/cgroup/cpu.max").read_text().split())
        bound = min(bound, max(1, quota // period))
    return bound


def join_hosts(coordinator: str | None, host: int, hosts: int) -> tuple[int, int]:
    """(which host this is, how many there are): as said, or as ``jax.distributed`` counts them once it is joined.

    ``coordinator`` is the first host's address, or "auto" where the cluster (SLURM, a TPU pod) tells all three. Raises
    InputError where it does not.
    """
    if coordinator is None:
        return host, hosts
    import jax

    try:
        jax.distributed.initialize(*(() if coordinator == "auto" else (coordinator, hosts, host)))
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"--coordinator {coordinator}: {reason}; give HOST:PORT with --hosts and --host") from error
    return jax.process_index(), jax.process_count()


def _listed(names: list[str]) -> str:
    return textwrap.fill(" ".join(names), 96, break_on_hyphens=False)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
