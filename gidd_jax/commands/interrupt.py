"""Ctrl-C, heard wherever it falls."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

SAID = "gidd-jax: interrupted; what the last checkpoint holds is safe"
AGAIN = 0.05


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Makes Ctrl-C raise KeyboardInterrupt, except where that would crash or be lost.

    Inside an import it ends the process at once, with ``SAID`` and status 130: packages of C code crash on an exception
    while they start, and nothing is being written yet. Where Python cannot raise (a callback of the garbage collector)
    it comes again a moment later.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    main = threading.main_thread().ident
    before, hook = signal.signal(signal.SIGINT, _hear), sys.unraisablehook

    def lost(what: Any) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN, signal.pthread_kill, (main, signal.SIGINT)).start()
        else:
            hook(what)

    sys.unraisablehook = lost
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        # Not over one that was put in its place meanwhile and is to stay.
        if sys.unraisablehook is lost:
            sys.unraisablehook = hook


def _hear(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            os.write(2, f"{SAID}\n".encode())
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt
