"""Files written whole or not at all: to a temporary name, flushed to disk, then renamed."""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def named(path: pathlib.Path) -> Iterator[None]:
    """An OSError that names no file is raised again with this one's name."""
    try:
        yield
    except OSError as error:
        if error.filename:
            raise
        raise OSError(error.errno, os.strerror(error.errno) if error.errno else str(error), str(path)) from error


def write(path: pathlib.Path, writer: Callable[[pathlib.Path], None]) -> None:
    """Calls ``writer`` on a temporary path beside ``path``, flushes it and renames it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pending = path.with_name(f".{path.name}.{os.getpid()}.pending{path.suffix}")
    try:
        with named(path):
            writer(pending)
            sync(pending)
        os.replace(pending, path)
    finally:
        pending.unlink(missing_ok=True)
    sync(path.parent)


def write_text(path: pathlib.Path, text: str) -> None:
    """``write`` for text."""
    write(path, lambda pending: pending.write_text(text) and None)


def absolute(text: str) -> str:
    """The absolute path where ``text`` names a file or directory that is there, else ``text`` as it is."""
    path = pathlib.Path(text)
    return str(path.absolute()) if text and path.exists() else text


def sync(path: pathlib.Path) -> None:
    """Flushes one file or directory to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(path: pathlib.Path, deep: bool = True) -> None:
    """Flushes a directory and, if ``deep``, all below it."""
    for child in sorted(path.rglob("*")) if deep else ():
        sync(child)
    sync(path)
