"""Ctrl-C: one line and the end of the process wherever it falls, unless a sweep hears it."""

import os
import signal
import subprocess
import sys

import pytest

from gidd_jax import sweep
from gidd_jax.commands import interrupt

KILL = "os.kill(os.getpid(), signal.SIGINT)"
CASES = {
    "plainly": f"{KILL}; time.sleep(30)",
    "while a module starts": "import interrupted_module",
    "in a callback of the collector": f"gc.callbacks.append(lambda *_: {KILL}); gc.collect(); time.sleep(30)",
    "twice in training": f"sweep._Interrupt().__enter__(); {KILL}; {KILL}; time.sleep(30)",
}


@pytest.mark.parametrize("case", CASES)
def test_it_ends_the_process_in_one_line(tmp_path, case):
    (tmp_path / "interrupted_module.py").write_text(f"import os, signal, time\n{CASES['plainly']}\n")
    code = f"""
import gc, os, signal, time
from gidd_jax.commands import interrupt
{"from gidd_jax import sweep" if "sweep" in CASES[case] else ""}
with interrupt.heard():
    {CASES[case]}
"""
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", interrupt.SAID)


def test_what_heard_it_before_hears_it_after():
    before = signal.getsignal(signal.SIGINT)
    with interrupt.heard():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_sweep_hears_the_first_and_leaves_the_second_to_python():
    with pytest.raises(KeyboardInterrupt), sweep._Interrupt() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.heard()
        os.kill(os.getpid(), signal.SIGINT)
