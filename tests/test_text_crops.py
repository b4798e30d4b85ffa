"""Text held out for validation, and stretches of text drawn on the device."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gidd_jax.data import text
from gidd_jax.data.text import crops, offline
from gidd_jax.data.text.split import signatures, split
from gidd_jax.errors import InputError

ALPHA = 1e-3
CHAPTERS = offline.kjv()
TEXTS = CHAPTERS[:40]


def test_a_document_keeps_its_part_whatever_else_there_is():
    texts = [f"{chapter[:300]} {n}" for n in range(2) for chapter in CHAPTERS]
    whole = split(texts, 0.1)
    assert whole.kind == "document"
    assert sorted(whole.train + whole.validation) == sorted(texts)
    assert abs(len(whole.validation) / len(texts) - 0.1) < 0.03
    fewer = split(texts[::-2], 0.1)
    assert set(fewer.validation) <= set(whole.validation) and set(fewer.train) <= set(whole.train)
    assert set(split(texts, 0.1, seed=1).validation) != set(whole.validation)
    assert set(whole.validation) <= set(split(texts, 0.2).validation)


def test_near_duplicates_stay_together():
    """2,378 documents in pairs: retyped ones never part; ones with a few words changed hardly ever."""
    texts = [chapter for chapter in CHAPTERS if len(chapter) > 2000]
    retyped = [each.upper().replace(",", " ;").replace("\n", "\r\n\r\n") for each in texts]
    assert (signatures(texts) == signatures(retyped)).all()
    changed = [each.replace(each.split()[50], "Ozymandias", 1) for each in texts]
    same = signatures(texts) == signatures(changed)
    assert same.mean() > 0.95
    held = set(split(texts + changed, 0.1).validation)
    parted = np.mean([(one in held) != (other in held) for one, other in zip(texts, changed, strict=True)])
    assert parted < 0.02


def test_signatures_are_minima_over_runs_of_letters():
    """Equal with probability J: 1,000 pairs of random texts that share half their runs, alpha = 1e-3."""
    rng = np.random.default_rng(0)

    def letters(count):
        return "".join(map(chr, rng.integers(97, 123, count)))

    parts = [(letters(200), letters(200), letters(200)) for _ in range(1000)]
    one, other = signatures([a + b for a, b, _ in parts]), signatures([b + c for _, b, c in parts])
    runs = 200 - 23
    likeness = runs / (3 * runs + 46)
    assert stats.binomtest(int((one == other).sum()), 1000, likeness).pvalue > ALPHA
    short = signatures(["a", "b", "A!", "", "."])
    assert short[0] == short[2] != short[1] and short[3] == short[4]


def test_signatures_do_not_depend_on_blocks(monkeypatch):
    whole = signatures(TEXTS)
    monkeypatch.setattr("gidd_jax.data.text.split.BLOCK", 100)
    assert (signatures(TEXTS) == whole).all()


def test_the_ends_of_few_documents_are_held_out():
    texts = CHAPTERS[:3]
    parts = split(texts, 0.25)
    assert parts.kind == "position"
    assert [a + b for a, b in zip(parts.train, parts.validation, strict=True)] == texts
    assert [len(each) for each in parts.validation] == [len(each) // 4 for each in texts]
    assert split(texts[:1] * 50, 0.25).kind == "position"


def test_fingerprint_names_what_is_trained_on(tmp_path):
    path = tmp_path / "some.txt"
    path.write_text(TEXTS[0])
    prints = [
        text.load(path).fingerprint,
        text.load(path, tokenizer="characters").fingerprint,
        text.load(path, share=0.2).fingerprint,
        text.load(path, cut="line", share=0.2).fingerprint,
    ]
    assert len(set(prints)) == 4
    assert prints[0].startswith("position-") and len(prints[0]) == 9 + 64
    moved = tmp_path / "moved.txt"
    moved.write_text(TEXTS[0])
    assert text.load(moved).fingerprint == prints[0]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """30 documents of letters that are seen once only; lengths from 2 to 31 with the line break."""
    lines = ["".join(chr(0x4E00 + 40 * n + i) for i in range(n + 1)) for n in range(30)]
    path = tmp_path_factory.mktemp("crops") / "some.txt"
    path.write_text("\n".join(lines))
    every = text.Characters("".join(sorted({*"".join(lines), "\n", "\ufffd"})))
    return text.load(path, tokenizer=every, cut="line", share=0.3)


@pytest.mark.parametrize("part", [0, 1])
def test_packed_windows_are_uniform_over_the_stream(corpus, part):
    """Chi-square of 20,000 windows over their beginnings, alpha = 1e-3."""
    shelf, length, count = crops.shelve(corpus), 5, 20_000
    draw = jax.jit(crops.packed, static_argnames=("batch", "length"))
    ids, valid = draw(jax.random.key(part), shelf, part, batch=count, length=length)
    stream = (corpus.train, corpus.validation)[part].tokens
    windows = {tuple(window): i for i, window in enumerate(np.lib.stride_tricks.sliding_window_view(stream, length))}
    begin = [windows[tuple(row)] for row in ids.tolist()]
    assert bool(valid.all()) and ids.dtype == jnp.int32
    assert stats.chisquare(np.bincount(begin, minlength=len(windows))).pvalue > ALPHA


@pytest.mark.parametrize("part", [0, 1])
def test_document_windows_are_uniform_over_documents_then_places(corpus, part):
    """Chi-square of 20,000 crops over every (document, beginning) with its probability, alpha = 1e-3; padded."""
    shelf, length, count = crops.shelve(corpus), 9, 20_000
    draw = jax.jit(crops.documents, static_argnames=("batch", "length"))
    ids, valid = draw(jax.random.key(part), shelf, jnp.int32(part), batch=count, length=length)
    tokens, offsets, _ = (corpus.train, corpus.validation)[part]
    wanted = {}
    for a, b in itertools.pairwise(offsets):
        places = max(1, b - a - length + 1)
        for begin in range(a, a + places):
            window = tokens[begin : min(begin + length, b)]
            padded = (*window.tolist(), *[corpus.tokenizer.pad_id] * (length - len(window)))
            wanted[padded] = count / (len(offsets) - 1) / places
    order = {window: i for i, window in enumerate(wanted)}
    seen = np.bincount([order[tuple(row)] for row in ids.tolist()], minlength=len(order))
    assert stats.chisquare(seen, list(wanted.values())).pvalue > ALPHA
    assert bool((valid == (ids != corpus.tokenizer.pad_id)).all())
    assert not bool(valid.all())


def test_crops_that_do_not_fit_are_told(corpus):
    crops.check(corpus, "packed", len(corpus.validation.tokens))
    count, longest = len(corpus.train.offsets) - 1, int(np.diff(corpus.train.offsets).max())
    crops.check(corpus, "documents", 2 * longest)
    wrong = 2 * longest + 1
    what = f"train: the longest of {count} documents has {longest} tokens, less than half of a crop of {wrong}"
    with pytest.raises(InputError, match=what):
        crops.check(corpus, "documents", wrong)
    size = len(corpus.validation.tokens)
    with pytest.raises(InputError, match=f"validation: the text has {size} tokens, too few for a crop of {size + 1}"):
        crops.check(corpus, "packed", size + 1)
