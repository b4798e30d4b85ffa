"""The two kinds of setting: static ``Config`` dataclasses (shapes, depth, steps) and traced ``Hyper`` tuples.

Both describe themselves: a Config field carries its help text and whether it is *identity* (a sweep directory
refuses another value) or *execution* (how it is run, never what comes out); a Hyper field is
``Annotated[float, Dial(unit, low, high, help)]``. The command line and the checks are made from these.
"""

import dataclasses
import hashlib
import json
import math
from typing import Any, NamedTuple, get_args, get_type_hints

from gidd_jax.errors import InputError


class Dial(NamedTuple):
    """What one Hyper field may hold: its unit, its closed legal range, and one line of help."""

    unit: str
    low: float
    high: float
    help: str


def setting(default: Any, help: str, *, execution: bool = False, choices: tuple[str, ...] = ()) -> Any:
    """A Config field with its help text; ``execution`` marks what may change between starts of one sweep."""
    return dataclasses.field(default=default, metadata={"help": help, "execution": execution, "choices": choices})


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The settings every study has; a study's Config adds its own. 0 means "chosen for you, then recorded"."""

    steps: int = setting(1000, "training steps of every replica")
    log_every: int = setting(0, "steps a training metric is averaged over (0: 10, or less to fit the others)")
    eval_every: int = setting(0, "steps between evaluations (0: a fifth of --steps)")
    checkpoint_every: int = setting(0, "steps between checkpoints (0: as --eval-every)", execution=True)
    width: int = setting(0, "replicas of a block, vmapped together; fixed for a sweep (0: 1 on a CPU, 32 else)")
    memory_limit: float = setting(0.0, "GiB a device may use; rows beyond it wait (0: what is free)", execution=True)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata.get("choices", ())
            flag = f"--{field.name.replace('_', '-')}"
            if choices and value not in choices:
                raise InputError(f"{flag} {value}: not one of {', '.join(choices)}")
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not (0 <= value < math.inf):
                raise InputError(f"{flag} {value}: must be a finite number, 0 or more")
        if not 1 <= self.steps < 2**31:
            raise InputError(f"--steps {self.steps}: between 1 and {2**31 - 1} steps")


def at_least_one(config: RunConfig, *names: str) -> None:
    """Raises InputError for a setting of these below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 1")


def resolved(config: RunConfig, recorded: dict[str, Any] | None, backend: str) -> RunConfig:
    """Fills the settings left at 0 or "auto", from the ``recorded`` config of an earlier start where there is one.

    Raises InputError where evaluations or checkpoints would fall inside a log interval.
    """
    cadence = {name: getattr(config, name) for name in ("log_every", "eval_every", "checkpoint_every", "width")}
    for name, value in (recorded or {}).items():
        if name in cadence and not cadence[name]:
            cadence[name] = value
    cadence["width"] = cadence["width"] or (1 if backend == "cpu" else 32)
    if not cadence["eval_every"]:
        fifth = math.ceil(config.steps / 5)
        step = cadence["log_every"] or 10
        cadence["eval_every"] = fifth if fifth < step else math.ceil(fifth / step) * step
    cadence["checkpoint_every"] = cadence["checkpoint_every"] or cadence["eval_every"]
    if not cadence["log_every"]:
        cadence["log_every"] = math.gcd(10, cadence["eval_every"], cadence["checkpoint_every"])
    for name in ("eval_every", "checkpoint_every"):
        if cadence[name] % cadence["log_every"]:
            flag = name.replace("_", "-")
            raise InputError(
                f"--{flag} {cadence[name]} is not a multiple of --log-every {cadence['log_every']}: "
                f"give a multiple of it{' (the directory has it recorded)' if recorded else ''}"
            )
    if recorded and getattr(config, "attention_kernel", "") == "auto":
        cadence["attention_kernel"] = recorded.get("attention_kernel", "auto")
    return dataclasses.replace(config, **cadence)


def identity(config: RunConfig) -> dict[str, Any]:
    """The settings that decide what comes out: everything but the execution settings."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if not f.metadata.get("execution")}


def unusual(config: RunConfig) -> dict[str, Any]:
    """The settings of ``identity`` that are not the default: what is compared across versions, which may add some."""
    usual = {f.name: f.default for f in dataclasses.fields(config)}
    return {name: value for name, value in identity(config).items() if value != usual[name]}


def to_json(config: Any) -> dict[str, Any]:
    """A Config as a JSON-ready dict (tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(kind: type, values: dict[str, Any]) -> Any:
    """The Config of class ``kind`` that ``to_json`` wrote; raises InputError on a field or a kind it does not know."""
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in fields:
            raise InputError(f"{kind.__name__} has no field {name!r}: written by another version of gidd-jax?")
        usual = fields[name].default
        wanted = (list, tuple) if isinstance(usual, tuple) else (int, float) if type(usual) is float else type(usual)
        if usual is not dataclasses.MISSING and not isinstance(value, wanted):
            raise InputError(f"{kind.__name__}: {name} cannot be {value!r}: written by another version of gidd-jax?")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def dials(hyper: type) -> dict[str, tuple[type, Dial]]:
    """Field -> (int or float, Dial) of a Hyper class, in order."""
    return {name: get_args(hint) for name, hint in get_type_hints(hyper, include_extras=True).items()}


def row_identity(values: dict[str, int | float]) -> str:
    """Twelve hex digits that name a row: the hash of the Hyper values given, whatever sweep it stands in."""
    text = json.dumps({name: float(value).hex() for name, value in sorted(values.items())})
    return hashlib.sha256(text.encode()).hexdigest()[:12]
