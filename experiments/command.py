"""The command line of an experiment: help is its docstring, and what goes wrong is one line and an exit status."""

import argparse
import contextlib
import sys
from collections.abc import Iterator

from gidd_jax.cli import Parser
from gidd_jax.errors import InputError
from gidd_jax.sweep import Interrupted


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """A parser for ``python -m experiments.NAME``."""
    raw = argparse.RawDescriptionHelpFormatter
    return Parser(f"python -m experiments.{name}", description=about, formatter_class=raw, allow_abbrev=False)


def count(text: str) -> int:
    """An argument that is a number of things, 1 at least."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: how many, 1 at least")
    return int(text)


@contextlib.contextmanager
def line(name: str) -> Iterator[None]:
    """Inside, bad input leaves with status 2, Ctrl-C with 130, a disk that will not with 1, each in one line."""
    try:
        yield
    except InputError as error:
        status, why = 2, str(error)
    except Interrupted as stopped:
        status, why = 130, str(stopped)
    except KeyboardInterrupt:
        status, why = 130, "interrupted; what the last checkpoint holds is safe"
    except OSError as error:
        status, why = 1, f"{error.filename}: {error.strerror}" if error.filename else str(error)
    else:
        return
    print(f"{name}: {why}", file=sys.stderr)
    sys.exit(status)
