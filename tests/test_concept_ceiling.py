"""The model without a bottleneck: its mean states by hand, and the experiment from end to end on made-up text."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from experiments import concept_ceiling
from gidd_jax.models import dit

SHAPE = dit.DitConfig(vocab_size=12, layers=1, d_model=8, heads=2, cond=8, max_length=6)


def measurable():
    """Eight scored texts, the first of two windows, and 24 + 16 labelled ones; what lies beyond a length is noise."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 11, (49, 6)).astype(np.int32)
    lengths = rng.integers(2, 7, 49).astype(np.int32)
    share = np.zeros((8, 9), np.float32)
    share[0, :2] = lengths[:2] / lengths[:2].sum()
    share[1:, 2:] = np.eye(7)
    left, right = (np.int32(side) for side in np.triu_indices(8, 1))
    given = dict(ids=ids[:9], lengths=lengths[:9], share=share, left=left, right=right)
    given["score"] = rng.normal(size=len(left)).astype(np.float32)
    label = np.int32(ids[9:, 0] > 5)
    probe = dict(train=np.arange(24), test=np.arange(24, 40), train_label=label[:24], test_label=label[24:])
    return {"ids": ids[9:], "lengths": lengths[9:], "similarity": given, "probe": probe | {"classes": np.zeros((2, 0))}}


@pytest.mark.slow
def test_a_text_is_the_mean_of_its_tokens_states():
    data, params = measurable(), dit.init(jax.random.key(0), SHAPE)
    found = concept_ceiling.measured(params, SHAPE, jax.tree.map(jnp.asarray, data))
    states = jax.jit(lambda ids: dit.features(params, SHAPE, ids, 0.0))

    def mean(part):
        told = np.float64(states(part["ids"]))
        return np.stack([row[:n].mean(0) for row, n in zip(told, part["lengths"], strict=True)])

    given, probe = data["similarity"], data["probe"]
    whole = np.float64(given["share"]) @ mean(given)
    for name, x in (("similarity", whole), ("similarity_centred", whole - whole.mean(0))):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        cosine = (unit @ unit.T)[given["left"], given["right"]]
        assert found[name] == pytest.approx(stats.pearsonr(cosine, given["score"])[0], abs=1e-4), name

    x = mean(data)
    train, test = x[probe["train"]], x[probe["test"]]
    scaled, seen = ((part - train.mean(0)) / train.std(0) for part in (train, test))
    onehot = np.eye(2)[probe["train_label"]]
    ridge = scaled.T @ scaled + 24 * concept_ceiling.PENALTY * np.eye(8)
    named = (seen @ np.linalg.solve(ridge, scaled.T @ (onehot - onehot.mean(0))) + onehot.mean(0)).argmax(1)
    assert found["topic"] == pytest.approx((named == probe["test_label"]).mean(), abs=1e-6)


@pytest.mark.slow
def test_the_ceiling_is_measured_from_end_to_end(tmp_path, monkeypatch, capsys):
    """Texts of two topics, letters of one never in the other: learnt, and told apart by the probe."""
    rng = np.random.default_rng(0)
    write = lambda letters: "".join(rng.choice(list(letters), 40))  # noqa: E731
    topics = rng.integers(0, 2, 400)
    rows = pd.DataFrame({"text": [write(("abcd", "efgh")[k]) for k in topics], "topic": topics})
    rows.to_csv(tmp_path / "texts.csv", index=False)
    pairs = [(write("abcd"), write("abcd"), 3), (write("abcd"), write("efgh"), 1), (write("efgh"), write("efgh"), 3)]
    pd.DataFrame(pairs, columns=["sentence1", "sentence2", "score"]).to_csv(tmp_path / "pairs.csv", index=False)
    sizes = dict(data=str(tmp_path / "texts.csv"), column="text", label_column="topic", tokenizer="bpe-300")
    sizes |= dict(similarity=str(tmp_path / "pairs.csv"), length=32, batch=16, d_model=16, heads=2, steps=200)
    monkeypatch.setitem(concept_ceiling.PRESETS, "made", sizes | dict(decoder_layers=1))
    monkeypatch.setitem(concept_ceiling.RATES, "made", 5e-3)
    assert concept_ceiling.main(tmp_path / "out", "made", seeds=2, quiet=True) == 0
    told = capsys.readouterr().out
    assert told == (tmp_path / "out" / "concept_ceiling.txt").read_text()
    assert "width 16, 3 layers, 200 steps" in told and "over 2 seeds" in told
    found = pd.read_csv(tmp_path / "out" / "concept_ceiling.csv").set_index(["model", "seed"])
    assert list(found.index) == [("untrained", 0), ("trained", 0), ("untrained", 1), ("trained", 1)]
    assert (found.loc["trained", "topic"] > 0.95).all() and (found.loc["trained", "similarity"] > 0.5).all()
