"""The factorial of the concept study: contrasts of known effects, and what its tables say of made-up numbers."""

import itertools

import numpy as np
import pandas as pd
import pytest

from experiments import concept_fixes, concept_tables, prefix_diffusion

NAMES = tuple(concept_fixes.FIXES)


def table(seeds=6, noise=0.01):
    """similarity = .1 + .05 depth + .2 prefix + .08 depth x prefix (factors 0 and 1) + noise, at steps 0 and 5."""
    rng, lines = np.random.default_rng(0), []
    for which in itertools.product((0, 1), repeat=4):
        on = dict(zip(NAMES, which, strict=True))
        name = "+".join(key for key, value in on.items() if value) or "-"
        for seed in range(seeds):
            value = 0.1 + 0.05 * on["depth"] + 0.2 * on["prefix"] + 0.08 * on["depth"] * on["prefix"]
            for step, metric, told in (
                *((0, "similarity", 0.1), (5, "similarity", value + noise * rng.standard_normal())),
                *((0, "bound", 6.0), (5, "bound", 5.0 + noise * rng.standard_normal())),
                *((5, "effective_rank_centred", 8 + noise * rng.standard_normal()), (5, "effective_rank", 5.0)),
                *((5, "similarity_bag_of_words", 0.16), (5, "similarity_tf_idf", 0.59)),
            ):
                lines.append((name, seed, step, "validation", -1, metric, told))
    return pd.DataFrame(lines, columns=["setting", "seed", "step", "split", "bin", "metric", "value"])


def test_contrasts_are_the_effects_that_were_put_in():
    values = concept_tables.measured(table(noise=0.0))["similarity"]
    of = lambda *factors: concept_tables.contrast(values, factors, NAMES).to_numpy()  # noqa: E731
    # The mean effect of depth is its own and half of what it adds where prefix is on.
    np.testing.assert_allclose(of("depth"), 0.05 + 0.04, atol=1e-12)
    np.testing.assert_allclose(of("prefix"), 0.2 + 0.04, atol=1e-12)
    np.testing.assert_allclose(of("depth", "prefix"), 0.04, atol=1e-12)
    np.testing.assert_allclose(of("elbo"), 0, atol=1e-12)
    np.testing.assert_allclose(of("depth", "prefix", "elbo"), 0, atol=1e-12)


def test_effects_are_found_and_none_where_there_is_none():
    found = concept_tables.effects(table(), NAMES).set_index(["metric", "effect"])
    real = {"depth", "prefix", "depth x prefix"}
    for effect, row in found.loc["similarity"].iterrows():
        assert (row["holm"] < 0.05) == (effect in real), effect
    # Family-wise: 15 true null hypotheses, none rejected at these seeds.
    assert (found.loc["bound", "holm"] > 0.05).all()
    assert found.loc[("similarity", "depth"), "mean"] == pytest.approx(0.09, abs=0.01)
    assert found.loc[("similarity", "elbo"), "least"] < 0.02


def test_verdicts_say_what_the_numbers_say():
    made = table()
    told = concept_tables.verdicts(made, concept_tables.effects(made, NAMES), made["setting"].unique())
    by_name = {line[:8].strip(): line for line in told}
    assert "not shown" in by_name["claim 1"] and "the largest is prefix" in by_name["claim 1"]
    assert "open" in by_name["claim 2"] and "shown" in by_name["claim 3"]
    assert "above its floor" in by_name["floor"]


def test_the_rows_of_the_factorial_are_all_different_and_named():
    hypers, names = concept_fixes.rows("tiny", 2, list(concept_fixes.ARMS))
    settings = 16 + len(concept_fixes.ARMS)
    assert len(names) == len(hypers.seed) == 2 * settings and len(set(names)) == settings
    assert {"-", "depth+elbo+prefix+spread", "elbo+spread"} <= set(names)
    late = names.index("all, regulariser late")
    assert hypers.reg_start[late] == concept_fixes.PRESETS["tiny"]["steps"] / 2


def test_contrasts_of_decoders_are_paired_by_seed():
    lines = []
    for decoder, bound in (("diffusion", 5.0), ("diffusion, attention", 4.9), ("autoregressive", 3.0)):
        for channel, more in (("", 0.0), (", no channel", 0.2)):
            for seed in range(5):
                value = bound + more + seed + 0.001 * ((7 * seed) % 3)  # seeds differ by far more than decoders
                lines.append((decoder + channel, seed, 5, "validation", -1, "bound", value))
    made = pd.DataFrame(lines, columns=["setting", "seed", "step", "split", "bin", "metric", "value"])
    made = pd.concat(
        [made, made.replace({"setting": {"diffusion": "position only"}}).query("setting == 'position only'")]
    )
    made = pd.concat(
        [made, made.query("setting == 'diffusion, no channel'").assign(setting="position only, no channel")]
    )
    found = prefix_diffusion.contrasts(made).set_index(["question", "contrast"])
    assert found.loc[("coordinate", "diffusion, attention less diffusion"), "mean"] == pytest.approx(-0.1)
    assert found.loc["value", "mean"].to_numpy() == pytest.approx(0.2)
