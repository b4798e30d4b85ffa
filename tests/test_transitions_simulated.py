"""From simulated sweeps alone: the critical point, the exponent and the order of the Kuramoto transition."""

import pytest

from experiments import transition_rates
from experiments.transition_rates import Case

REPETITIONS = 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        Case("gaussian", "continuous", (50, 150, 600), 24),
        Case("lorentzian", "continuous", (50, 200, 800), 24, transition_rates.FAR, dt=0.1, steps=1200, burn_in=700),
        Case("uniform", "discontinuous", (50, 150, 400), 12),
    ],
    ids=lambda case: case.distribution,
)
def test_what_simulations_of_a_known_transition_say(case):
    *_, told = transition_rates.measured(REPETITIONS, (case,))
    told = told.set_index("question")
    # These seeds are fixed. At the rates of docs/transition_rates.csv fewer happen once in some thirty such tests.
    assert told.loc["the rise sharpens at 5 %", "count"] >= 9
    wrong = {"continuous": "discontinuous", "discontinuous": "continuous"}[case.order]
    assert told.loc[f"called {wrong}", "count"] == 0
    if case.order == "discontinuous":
        assert told.loc["called discontinuous", "count"] >= 9
        return
    assert told.loc["K_c inside its 95 % interval", "count"] >= 8
    assert told.loc["K_c inside its 95 % interval", "mean"] == pytest.approx(1, abs=0.03)
    assert told.loc["beta within .1 of 1/2", "mean"] == pytest.approx(0.5, abs=0.1)
    # Measured rates: 81 of 100 for the lorentzian case as it stands here, more for the gaussian one.
    assert told.loc["called continuous", "count"] >= {"gaussian": 7, "lorentzian": 6}[case.distribution]
