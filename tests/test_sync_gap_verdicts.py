"""What the experiment concludes, on curves and energies made so that the right answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import sync_gap, sync_gap_report, sync_gap_verdicts
from experiments.sync_gap_verdicts import ARMS, CONTROL, Measured
from gidd_jax import analysis, export
from gidd_jax.config import to_json
from gidd_jax.errors import InputError
from gidd_jax.models import dit_image
from gidd_jax.studies.syncgap_theory import Terms

UNTIL = np.arange(0, 51, 5)
LAYERS = 10


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    for module in (sync_gap_verdicts, sync_gap_report):
        monkeypatch.setattr(module, "RESAMPLES", 60)


def falling(middle, seed, height=1.0):
    """32 noisy curves that fall from 2 to 2 - height around a step."""
    rng = np.random.default_rng(seed)
    clean = 2 - height / (1 + np.exp(-(UNTIL - middle) / 3))
    return clean[None] * np.exp(0.1 * rng.normal(size=(32, len(UNTIL))))


def gaps(held_out, in_sample=None, spread=0.0, seed=0):
    """Ratios [L, S] whose last step is as given."""
    rng = np.random.default_rng(seed)
    noisy = lambda x: np.stack([np.ones(LAYERS), x + spread * rng.normal(size=LAYERS)], axis=1)  # noqa: E731
    return analysis.Gaps(
        noisy(held_out if in_sample is None else in_sample), noisy(held_out), noisy(5 * np.ones(LAYERS))
    )


def made(coarse=20.0, fine=30.0, own_height=0.0, apart=1.0, closed=1.0, in_sample=None, spread=0.01):
    """Controls commit at the given steps; with own noise curves are flat unless given a height."""
    curves = [{}, {}]
    for i, (name, (_, shared)) in enumerate(ARMS.items()):
        for which, middle in enumerate((coarse, fine)):
            curves[which][name] = falling(middle, 10 * i + which, 1.5 if shared else own_height)
    strangers = {"strangers": np.full(32, 2.0)}
    of = {0.0: np.ones(LAYERS) * apart, 0.9: np.ones(LAYERS) * closed}
    terms = Terms(*np.zeros((5, LAYERS - 1, 8)))
    return Measured(
        UNTIL,
        *(part | strangers for part in curves),
        {name: np.zeros((32, len(UNTIL))) for name in ARMS} | strangers,
        {g: gaps(x, in_sample) for g, x in of.items()},
        {g: [gaps(x, in_sample, spread, seed) for seed in range(8)] for g, x in of.items()},
        64.0,
        {g: np.ones((LAYERS, 2)) for g in of},
        dict.fromkeys(of, terms),
    )


def words(found):
    return {each.statement[:12]: each.word for each in sync_gap_verdicts.verdicts(found)}


@pytest.mark.parametrize(("coarse", "fine", "word"), [(20, 30, "holds"), (30, 20, "refuted"), (25, 25, "undecided")])
def test_hierarchy_of_the_control(coarse, fine, word):
    found = sync_gap_verdicts.hierarchy(made(coarse, fine), CONTROL)
    assert found.word == word and found.low < fine - coarse < found.high


def test_flat_curves_have_no_answer():
    found = sync_gap_verdicts.verdicts(made())
    own = [each for each in found if "own noise" in each.statement or each.statement.startswith("4 behaviour")]
    assert len(own) == 3 and all(each.word.startswith("no answer") for each in own)


def test_gaps_are_judged_by_what_is_held_out():
    rising = np.where(np.arange(LAYERS) >= 8, 6.0, 3.0)
    found = {each.statement: each for each in sync_gap_verdicts.verdicts(made(in_sample=rising))}
    assert found["2 last layers over first half, g = 0 (in sample)"].word == "holds"
    assert found["2 last layers over first half, g = 0 (in sample)"].value == pytest.approx(3.0)
    assert found["2 last layers over first half, g = 0 (held out)"].word == "undecided"
    assert found["3 gap - 1 at g = 0, last layer (held out)"].word == "undecided"
    assert words(made(apart=1.5))["3 gap - 1 at"] == "holds"
    assert words(made(apart=0.5))["3 gap - 1 at"] == "refuted"


def test_collapse_is_an_equivalence_and_not_a_lack_of_evidence():
    assert words(made(apart=1.5, closed=1.0))["4 internal: "] == "holds"
    assert words(made(apart=1.5, closed=1.4))["4 internal: "] == "refuted"
    assert words(made(apart=1.5, closed=1.0, spread=0.3))["4 internal: "] == "undecided"


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=9)
    without = [np.delete(values, i) for i in range(9)]
    mean, low, high = sync_gap_verdicts.jackknifed(np.mean, values, without)
    assert mean == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std(ddof=1) / 3)


def test_leaving_a_set_out_is_measuring_the_others():
    rng = np.random.default_rng(1)
    V = rng.normal(size=(3, 24, 40))
    grams = np.einsum("smd,nd->smn", V, V[0])[None]
    whole, without = sync_gap_verdicts.with_jackknife(grams, 3)
    np.testing.assert_allclose(whole.held_out, analysis.mode_gaps(grams, 3).held_out)
    np.testing.assert_allclose(without[0].held_out, analysis.mode_gaps(grams[..., 8:, 8:], 2).held_out)


def test_everything_is_told_and_drawn():
    found = made()
    text = sync_gap_report.tell(3, found, 50)
    assert "== class 3" in text and text.count("no answer") == 3 and "-> 0.7" in text
    table = sync_gap_report.table({None: found, 3: found})
    assert set(table["kind"]) == {"no class", "class 3"} and {"held_out", "cosine", "coarse"} <= set(table["measure"])
    assert len(sync_gap_report.drawn(found).axes) == 4


@pytest.mark.slow
def test_a_model_is_measured_from_end_to_end(tmp_path):
    """Of a transformer without training, as import-dit leaves one: pairs apart by nothing but their start."""
    shape = dit_image.DitImageConfig(8, 2, classes=2, layers=3, d_model=8, heads=2)
    fresh = dit_image.init(jax.random.key(0), shape)
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape), fresh)
    export.save(tmp_path, params, {"model": "dit_image", "config": to_json(shape)})
    subject, told, status = sync_gap.imported(tmp_path)
    assert status == 0 and "latents" in told and subject.shape == shape
    subject = subject._replace(steps=8, pool=2, clean=jnp.ones((2, 2, 8, 8)))
    found = sync_gap.measured(subject, 1, pairs=8, forks=7, sets=2, couplings=(0.0, 1.0))
    assert found.coarse[CONTROL].shape == (8, 7) and found.gaps[0.0].held_out.shape == (3, 8)
    np.testing.assert_allclose(found.gaps[0.0].in_sample[:, 0], 1, rtol=1e-4)
    assert len(found.left_out[1.0]) == 2 and max(terms.error.max() for terms in found.terms.values()) < 1e-5
    assert "no class" not in sync_gap_report.tell(1, found, 8)
    with pytest.raises(InputError, match="holds no image transformer"):
        export.save(tmp_path, params, {"model": "dit", "config": {}})
        sync_gap.imported(tmp_path)
