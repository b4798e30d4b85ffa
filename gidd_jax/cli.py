"""The ``gidd-jax`` command: finds the subcommand, and turns what went wrong into one line and an exit status.

0 done; 1 failed run; 2 bad usage or bad input; 130 stopped by Ctrl-C after saving.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from gidd_jax import __version__
from gidd_jax.commands import interrupt
from gidd_jax.errors import InputError

COMMANDS = {
    "sweep": "train every seed and setting in one jitted call, or go on where a sweep stopped",
    "evaluate": "measure a sweep, or one model, again: other decodings, samplers, boards",
    "sample": "let one row, or one model, complete boards or write text",
    "plot": "draw the figures of a sweep and print its table",
    "report": "tell a sweep, or several side by side, as one HTML page",
    "generate-puzzles": "make Sudoku boards with a unique solution",
    "export": "write one row as standalone parameters and config",
    "import-torch": "turn a PyTorch model of the Sudoku posts into parameters and config",
    "import-gidd": "turn a PyTorch checkpoint of GIDD into parameters and config",
    "import-mdlm": "turn a PyTorch checkpoint of MDLM into parameters and config",
    "import-dit": "turn a PyTorch checkpoint of DiT, for images, into parameters and config",
    "bench": "measure time and memory on this machine, beside what there was before",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line."""

    def error(self, message: str) -> None:
        """Raises InputError with the message and where help is."""
        raise InputError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command -> its exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with interrupt.heard():
            status = _run(arguments)
            sys.stdout.flush()
        return status
    except InputError as error:
        print(f"gidd-jax: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"gidd-jax: {where}{error.strerror or error}", file=sys.stderr)
        return 1


def _run(arguments: list[str]) -> int:
    listed = "\n".join(f"  {name:18} {what}" for name, what in COMMANDS.items())
    parser = Parser(
        "gidd-jax",
        description="Train many small discrete-diffusion models at once, and ask them questions.",
        epilog=f"commands:\n{listed}\n\nexample: gidd-jax sweep sudoku --seeds 0 1 2 3 --coupling 0 0.5 1 --out runs/a",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="gidd-jax [--version] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"gidd-jax {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=tuple(COMMANDS), help=argparse.SUPPRESS)
    if not arguments:
        parser.print_help()
        return 2
    name = parser.parse_args(arguments[:1]).command
    command = importlib.import_module(f"gidd_jax.commands.{name.replace('-', '_')}")
    own = Parser(
        f"gidd-jax {name}",
        description=COMMANDS[name][0].upper() + COMMANDS[name][1:] + ".",
        epilog=f"example: {command.EXAMPLE}",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=28, width=100),
        usage=getattr(command, "USAGE", None),
        allow_abbrev=False,
    )
    return command.run(own, arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
