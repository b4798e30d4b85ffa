"""The exact toy: the criteria hold on few pairs, its controls stand where they must, and its verdict can fail."""

import jax
import numpy as np
import pytest

from experiments import exact_toy


def test_commitment_is_where_theory_puts_it_and_controls_stand():
    found = exact_toy.committed(jax.random.key(1), exact_toy.PAIR, 1000)
    # Values of an independent computation of the same prediction.
    assert [mode.predicted for mode in found] == pytest.approx([46.8, 73.8], abs=0.05)
    assert all(exact_toy.holds(found).values())
    for mode in found:
        assert mode.agreement[-1] == 1  # everything shared
        assert abs(mode.agreement[0] - 0.5) < 4 * np.sqrt(0.25 / 1000)  # nothing but the start
        assert mode.low < mode.measured < mode.high


def test_verdicts_fail_where_midpoints_are_off():
    mode = exact_toy.Commitment(50.0, 51.0, 50.0, 52.0, np.zeros(21))
    assert list(exact_toy.holds([mode, mode._replace(measured=56.0)]).values()) == [True, False, False]
    assert not any(exact_toy.holds([mode._replace(measured=np.nan)] * 2).values())


@pytest.mark.slow
def test_only_a_restoring_force_brings_independent_replicas_together():
    agreement = exact_toy.restored(jax.random.key(2), exact_toy.PAIR, 1000)
    assert (np.abs(agreement[0] - 0.5) < 4 * np.sqrt(0.25 / 1000)).all()
    assert (np.diff(agreement[[0, 2, 3, 4]], axis=0) > 0).all() and agreement[-1, 0] > 0.97
