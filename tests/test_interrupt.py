"""Ctrl-C is heard once and for all: in an import, where Python cannot raise, and anywhere else."""

import gc
import os
import signal
import subprocess
import sys
import time

import pytest

from gidd_jax.commands import interrupt


def test_it_raises_and_leaves_what_was_there():
    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), interrupt.heard():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before


def test_swallowed_by_a_callback_of_the_collector_it_comes_again(capfd):
    def swallow(phase, info):
        gc.callbacks.remove(swallow)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), interrupt.heard():
        gc.callbacks.append(swallow)
        gc.collect()
        for _ in range(1000):
            time.sleep(0.01)
    assert capfd.readouterr().err == ""


def test_other_lost_exceptions_are_told_as_before(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    class Broken:
        def __del__(self):
            raise ValueError

    with interrupt.heard():
        Broken()
        gc.collect()
    assert [each.exc_type for each in told] == [ValueError]


def test_inside_an_import_it_ends_the_process_in_one_line(tmp_path):
    (tmp_path / "slow.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n")
    code = "from gidd_jax.commands import interrupt\nwith interrupt.heard():\n    import slow"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", interrupt.SAID + "\n")
