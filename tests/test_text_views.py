"""Rows of documents, their other view and labels; verses of two Bibles; tokens learned from text."""

import itertools
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gidd_jax.data import text
from gidd_jax.data.text import offline, read, sword, verses
from gidd_jax.data.text.making import bpe, maker
from gidd_jax.data.text.split import held_out, overlap
from gidd_jax.errors import InputError

CHAPTERS = offline.kjv()
VERSES = [verse for chapter in CHAPTERS[:40] for verse in chapter.split("\n")]
WEB = next((folder for folder in sword.folders() if (folder / "mods.d").is_dir()), None)


def message(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def table(path, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.fixture(scope="module")
def made():
    return bpe(VERSES, 400)


# Byte pairs


def test_byte_pairs_are_those_of_the_texts_whatever_their_order(made):
    shuffled = random.Random(0).sample(VERSES, len(VERSES))
    assert bpe(shuffled, 400) == made
    assert (made.own, made.vocab_size, made.pad_id, made.mask_id) == (400, 402, 400, 401)
    tokens = json.loads(made.document)["model"]["vocab"]
    assert "Ġthe" in tokens and "ĠLORD" in tokens
    assert len(made.encode(VERSES[0])) < 0.6 * len(VERSES[0])
    # a b and then ab ab are seen twice, and abab with a space before it once.
    few = bpe(["abab abab"], 400)
    assert (few.own, few.encode("abab abab").tolist()) == (258, [257, few.encode(" ")[0], 257])


def test_byte_pairs_are_the_same_in_another_process_with_one_thread(made):
    code = (
        "import sys; from gidd_jax.data.text import offline; from gidd_jax.data.text.making import bpe\n"
        "texts = [verse for chapter in offline.kjv()[:40] for verse in chapter.split('\\n')]\n"
        "sys.stdout.write(bpe(texts, 400).document)"
    )
    env = os.environ | {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=True, text=True).stdout == (
        made.document
    )


@settings(max_examples=200, deadline=None)
@given(wild=st.text(st.characters(exclude_categories=["Cs"])))
def test_byte_pairs_lose_nothing(wild):
    made = maker_of_verses()
    ids = made.encode(wild)
    assert made.decode(ids) == wild
    assert not len(ids) or ids.max() < made.own


def maker_of_verses(cache=[]):  # noqa: B006
    if not cache:
        cache.append(bpe(VERSES, 400))
    return cache[0]


def test_corpora_take_byte_pairs_of_their_training_text():
    corpus = text.load("kjv", tokenizer="bpe-300", limit=100_000)
    assert corpus.tokenizer.own == 300
    part = corpus.train
    texts = [corpus.tokenizer.decode(part.tokens[a:b]) for a, b in itertools.pairwise(part.offsets)]
    assert bpe(texts, 300) == corpus.tokenizer
    assert {each + "\n" for each in CHAPTERS} >= set(texts[:-1])
    assert 1.3 < part.characters_per_token < 3
    assert corpus.fingerprint == text.load("kjv", tokenizer="bpe-300", limit=100_000).fingerprint
    assert corpus.fingerprint != text.load("kjv", tokenizer="bpe-301", limit=100_000).fingerprint


def test_names_of_byte_pairs_that_are_none_are_told(monkeypatch):
    assert message(maker, "bpe-256") == ("bpe-256: the 256 bytes are tokens too; give bpe-N with N above 256, or bytes")
    assert message(maker, "bpe-many").startswith("bpe-many: no such tokenizer; give bytes, characters, bpe-N")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert message(text.load, "kjv", tokenizer="bpe-512") == (
        "bpe-512: needs the package tokenizers; pip install 'gidd-jax[text]'"
    )


# Rows


def test_rows_are_the_first_tokens_of_documents(tmp_path, made):
    path = table(tmp_path / "some.parquet", text=[f" {verse}\n" for verse in VERSES])
    found = text.views(path, length=32, tokenizer=made, least=20)
    whole = {verse: made.encode(verse).tolist() for verse in VERSES}
    seen = []
    for part in (found.train, found.validation):
        assert part.ids.dtype == np.uint16 and part.lengths.dtype == np.int32
        assert (part.ids_other, part.lengths_other, part.labels) == (None, None, None)
        assert ((part.ids == made.pad_id) == (np.arange(32) >= part.lengths[:, None])).all()
        assert part.lengths.min() >= 20 and part.lengths.max() == 32
        assert (np.diff(part.documents) > 0).all()
        seen += [row[:length].tolist() for row, length in zip(part.ids, part.lengths, strict=True)]
    assert sorted(seen) == sorted(ids[:32] for verse in VERSES if len(ids := whole[verse]) >= 20)
    assert found.dropped == sum(len(whole[verse]) < 20 for verse in VERSES) > 0
    assert found.cut == sum(len(whole[verse]) > 32 for verse in VERSES) > 0
    assert (found.kind, found.label_names, found.name) == ("document", (), str(path))
    held = text.decode_rows(made, found.validation.ids, found.validation.lengths)
    train = text.decode_rows(made, found.train.ids, found.train.lengths)
    assert all(any(verse.startswith(row) for verse in VERSES) for row in held)
    assert not set(held) & set(train)
    assert abs(len(held) / len(seen) - 0.1) < 0.03


def test_windows_are_whole_documents_one_after_another(tmp_path, made):
    path = table(tmp_path / "some.parquet", text=CHAPTERS[:40], other=CHAPTERS[:40], topic=["a", "b"] * 20)
    found = text.views(path, length=50, tokenizer=made, least=1, windows=True, other="other", label="topic")
    assert (found.dropped, found.cut, found.train.ids_other) == (0, 0, None)
    again = []
    for part in (found.train, found.validation):
        rows = text.decode_rows(made, part.ids, part.lengths)
        assert (part.lengths[:-1][np.diff(part.documents) == 0] == 50).all()
        for document in range(part.documents.max() + 1):
            again.append("".join(row for row, owner in zip(rows, part.documents, strict=True) if owner == document))
            (label,) = set(part.labels[part.documents == document])
            assert found.label_names[label] == "ab"[CHAPTERS.index(again[-1]) % 2]
    assert sorted(again) == sorted(CHAPTERS[:40])
    ends = text.views(path, length=50, tokenizer=made, least=50, windows=True)
    assert ends.cut == sum(len(made.encode(chapter)) % 50 > 0 for chapter in CHAPTERS[:40])
    assert (ends.train.lengths == 50).all()


def test_the_other_view_and_the_label_stay_with_their_text(tmp_path, made):
    others = [f"{number} " * (number % 3 > 0) for number in range(len(VERSES))]
    labels = [number % 7 for number in range(len(VERSES))]
    path = table(tmp_path / "some.parquet", text=VERSES, other=others, label=labels)
    found = text.views(path, length=16, tokenizer=made, other="other", label="label")
    assert found.label_names == tuple("0123456")
    for part in (found.train, found.validation):
        other = text.decode_rows(made, part.ids_other, part.lengths_other)
        numbers = [int(each) for each in other]
        assert [each for each in other if each != each.strip()] == []
        starts = text.decode_rows(made, part.ids, part.lengths)
        assert all(VERSES[number].startswith(start) for number, start in zip(numbers, starts, strict=True))
        assert [found.label_names[label] for label in part.labels] == [str(number % 7) for number in numbers]
        assert part.ids_other.dtype == part.ids.dtype and part.ids_other.shape == part.ids.shape
        assert (part.ids_other[np.arange(16) >= part.lengths_other[:, None]] == made.pad_id).all()
    assert len(found.train.ids) + len(found.validation.ids) + found.dropped == sum(bool(other) for other in others)


def test_the_fingerprint_is_that_of_the_rows(tmp_path, made):
    path = table(tmp_path / "some.parquet", text=VERSES, other=VERSES[1:] + VERSES[:1])
    base = {"length": 16, "tokenizer": made, "other": "other"}
    known = text.views(path, **base).fingerprint
    assert known == text.views(path, **base).fingerprint
    changes = [{"length": 17}, {"least": 14}, {"other": "text"}, {"other": None}, {"seed": 1}, {"limit": 50_000}]
    assert len({known, *(text.views(path, **base | change).fingerprint for change in changes)}) == 7
    learned = [text.views(path, length=16, tokenizer=f"bpe-{size}") for size in (300, 300, 301)]
    assert learned[0].fingerprint == learned[1].fingerprint != learned[2].fingerprint
    assert known.startswith("document-")


def test_a_split_of_its_own(tmp_path, made):
    train, held = table(tmp_path / "a.parquet", text=VERSES[:30]), table(tmp_path / "b.parquet", text=VERSES[20:50])
    found = text.views(train, length=64, tokenizer=made, validation=held)
    assert (found.kind, len(found.train.ids), len(found.validation.ids)) == ("given", 30, 30)
    assert 0.25 < found.overlap < 0.45
    assert text.views(train, length=64, tokenizer=made, validation=train).overlap == 1


def test_documents_that_are_alike_in_either_view_are_never_parted():
    rng = random.Random(0)
    texts = [rng.choice(VERSES[:700]) for _ in range(2000)]
    others = [f"Number {rng.randrange(20_000)}" + "." * rng.randrange(3) for _ in texts]
    held = held_out(texts, 0.3, others=others)
    assert 0.05 < held.mean() < 0.6
    for seen in (texts, [other.strip(".") for other in others]):
        sides = {}
        for what, side in zip(seen, held, strict=True):
            sides.setdefault(what, set()).add(bool(side))
        assert set(map(len, sides.values())) == {1}
    alone = held_out(texts, 0.3)
    assert (held_out(texts, 0.3, others=list(map(str, range(2000)))) == alone).all() and (alone != held).any()


def test_overlap_is_the_share_of_runs_that_training_has(monkeypatch):
    train, held = VERSES[:300], [*VERSES[280:330], "Jesus wept."]

    def runs(texts):
        letters = ["".join(filter(str.isalnum, each.lower())).ljust(24, "\0") for each in texts]
        return [each[i : i + 24] for each in letters for i in range(len(each) - 23)]

    known = set(runs(train))
    expected = np.mean([run in known for run in runs(held)])
    assert overlap(train, held) == pytest.approx(expected)
    monkeypatch.setattr("gidd_jax.data.text.split.BLOCK", 1000)
    assert overlap(train, held) == pytest.approx(expected)
    monkeypatch.setattr("gidd_jax.data.text.split.DRAWN", 10_000)
    assert overlap(train, held) == pytest.approx(expected, abs=0.06)


def test_what_is_wrong_with_rows_is_told(tmp_path, made):
    path = tmp_path / "one.txt"
    path.write_text(CHAPTERS[0])
    options = {"length": 16, "tokenizer": made}
    assert message(text.views, path, **options) == (
        f"{path}: too few different documents to hold some out (1, 20 are needed); cut the text into paragraphs or "
        "lines, or name a split to validate on"
    )
    assert len(text.views(path, cut="line", **options).train.ids) > 20
    assert message(text.views, path, cut="line", other="more", **options) == (
        f"{path}: text has no column 'more'; give a CSV, JSONL or parquet file that has"
    )
    assert message(text.views, path, cut="line", validation="kjv", **options | {"length": 2000, "least": 1999}) == (
        f"{path}, train: no document has 1999 tokens; lower the least, or give more text"
    )
    assert message(text.views, path, length=4) == "least 8, length 4: give rows of 1 token or more, at most 4"
    assert message(text.views, path, length=16, share=1.0).startswith("share 1, limit None: give a share above 0")
    some = table(tmp_path / "some.parquet", text=VERSES)
    assert message(text.views, some, other="more", **options) == (
        f"{some}: has no column 'more'; it has 'text': name one of these"
    )
    assert message(text.views, "kjv-web", other="more", **options).startswith("kjv-web: has views of its own")


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".parquet"])
def test_rows_of_several_columns(tmp_path, suffix):
    path = tmp_path / f"some{suffix}"
    rows = [("a", 'the "first', 1), ("b", "one", 2), ("", "left out", 3), ("d", None, 4)]
    if suffix == ".tsv":
        path.write_text("score\ttext\tother\n" + "".join(f"{n}\t{a}\t{b or ''}\n" for a, b, n in rows))
    elif suffix == ".jsonl":
        path.write_text("".join(json.dumps({"score": n, "text": a, "other": b}) + "\n" for a, b, n in rows))
    else:
        table(path, score=[n for *_, n in rows], text=[a for a, *_ in rows], other=[b for _, b, _ in rows])
    found = list(read.rows(str(path), "file", ("text", "other", "score"), "train", None))
    expected = [("a", 'the "first', "1"), ("b", "one", "2"), ("d", "", "4")]
    assert [row for row in found if row[0]] == expected


# Wikipedia


def test_leads_with_title_and_topic():
    found = text.views("wiki-leads", length=32, tokenizer="bytes", limit=300_000)
    leads = offline.leads()
    assert len({lead["topic"] for lead in leads}) == 12
    assert set(found.label_names) <= {lead["topic"] for lead in leads}
    by_start = {}
    for lead in leads:
        by_start.setdefault(lead["extract"].strip().encode()[:32], []).append(lead)
    for part in (found.train, found.validation):
        for row in range(len(part.ids)):
            start = part.ids[row, : part.lengths[row]].astype(np.uint8).tobytes()
            other = part.ids_other[row, : part.lengths_other[row]].astype(np.uint8).tobytes()
            label = found.label_names[part.labels[row]]
            assert any(
                f"{lead['title']}. {lead['description']}".encode().startswith(other) and lead["topic"] == label
                for lead in by_start[start]
            )


# Verses


def test_verses_of_king_james_are_where_they_should_be():
    james = verses.kjv()
    assert len(james) == 31_102
    for reference, start in {
        ("Gen", 1, 1): "In the beginning God created the heaven and the earth.",
        ("Ps", 23, 1): "The LORD is my shepherd; I shall not want.",
        ("Mal", 4, 6): "And he shall turn the heart of the fathers to the children",
        ("Matt", 1, 1): "The book of the generation of Jesus Christ",
        ("John", 3, 16): "For God so loved the world",
        ("John", 11, 35): "Jesus wept.",
        ("3John", 1, 14): "But I trust I shall shortly see thee",
        ("Jude", 1, 25): "To the only wise God our Saviour",
        ("Rev", 22, 21): "The grace of our Lord Jesus Christ be with you all. Amen.",
    }.items():
        assert james[reference].startswith(start), reference


VERSE = (
    '<title type="psalm">no verse</title><w lemma="strong:H1">{}</w>,<note n="1">or <hi>not</hi></note>'
    '<q>tell<w>ing</w></q>\n<lb/>where<note>here</note>, &amp; so<milestone/><chapter eID="1"/>a glossary'
)


def module(folder, versification="NRSVA", driver="zText", gone=()):
    """A Sword module of verses that say where they stand, with headings, footnotes, two verses more."""
    entries = {"ot": ["", "heading"], "nt": ["", "heading"]}
    chapters = itertools.groupby(verses.kjv(), lambda reference: reference[:2])
    some = entries["ot"]
    for (book, chapter), references in chapters:
        some = entries["nt"] if book == verses.NEW.split()[0] else some
        some += [f"<title>{book}</title>"] if chapter == 1 else []
        some.append(f'<chapter osisID="{book}.{chapter}"/>')
        some += ["" if each in gone else VERSE.format(f"{book} {chapter}:{each[2]}") for each in references]
        some += ["one more"] if versification == "NRSVA" and (book, chapter) in (("3John", 1), ("Rev", 12)) else []
    entries["ot"] += ["a book beyond"] * 5
    data = folder / "modules" / "here"
    data.mkdir(parents=True)
    (folder / "mods.d").mkdir()
    (folder / "mods.d" / "engWEB.conf").write_text(
        f"[engWEB]\nDataPath=./modules/here/\nModDrv={driver}\nCompressType=ZIP\nVersification={versification}\n"
    )
    for testament, some in entries.items():
        index, blocks, packed = b"", b"", b""
        for number, start in enumerate(range(0, len(some), 4000)):
            block, inside = b"", some[start : start + 4000]
            for entry in inside:
                index += struct.pack("<IIH", number, len(block), len(entry.encode()))
                block += entry.encode()
            small = zlib.compress(block)
            blocks += struct.pack("<III", len(packed), len(small), len(block))
            packed += small
        for kind, content in (("v", index), ("s", blocks), ("z", packed)):
            (data / f"{testament}.bz{kind}").write_bytes(content)
    return folder


def test_verses_are_read_from_a_module_of_sword(tmp_path):
    gone = {("Acts", 8, 37), ("Luke", 17, 36)}
    references, james, english = verses.pairs(str(module(tmp_path, gone=gone)))
    assert len(references) == 31_100 and not gone & set(references)
    assert english == [f"{book} {chapter}:{verse}, telling where, & so" for book, chapter, verse in references]
    assert dict(zip(references, james, strict=True))["John", 3, 16].startswith("For God so loved the world")
    found = text.views(tmp_path, length=80, tokenizer="bytes", limit=200_000)
    for part in (found.train, found.validation):
        other = text.decode_rows(found.tokenizer, part.ids_other, part.lengths_other)
        starts = text.decode_rows(found.tokenizer, part.ids, part.lengths)
        by_name = {
            f"{book} {chapter}:{verse}": verse_text for (book, chapter, verse), verse_text in verses.kjv().items()
        }
        assert all(by_name[o.split(",")[0]].startswith(s) for o, s in zip(other, starts, strict=True))


def test_modules_of_another_kind_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("SWORD_PATH", str(tmp_path))
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path)
    monkeypatch.setattr("gidd_jax.data.text.sword.SYSTEM", tmp_path)
    assert message(verses.web) == (
        f"kjv-web: no World English Bible in {tmp_path}, {tmp_path / '.sword'}, {tmp_path}; apt-get install "
        "sword-text-web, or name a folder with its mods.d"
    )
    monkeypatch.setattr(offline, "kjv", lambda: CHAPTERS[:1] + CHAPTERS[-1:])
    monkeypatch.setattr(verses, "OLD", "Gen 1")
    monkeypatch.setattr(verses, "NEW", "Rev 1")
    folder = module(tmp_path / "a", driver="RawText")
    assert "driver RawText, compressed by ZIP; only open zText in ZIP can be read" in message(verses.web, str(folder))
    assert "versification Vulg is not one of KJV, NRSVA" in message(verses.web, str(module(tmp_path / "b", "Vulg")))
    folder = module(tmp_path / "c", "KJV")
    assert verses.web(str(folder))["Rev", 1, 21].startswith("Rev 1:21,")
    index = folder / "modules" / "here" / "nt.bzv"
    index.write_bytes(index.read_bytes()[:-100])
    assert "15 places in nt where its versification has 25 or more" in message(verses.web, str(folder))
    (folder / "modules" / "here" / "nt.bzz").write_bytes(b"none")
    assert "nt cannot be read (Error -" in message(verses.web, str(folder))


@pytest.mark.skipif(WEB is None, reason="needs Debian's sword-text-web")
def test_verses_of_two_bibles():
    references, james, english = verses.pairs()
    assert len(references) == 31_095
    by_reference = dict(zip(references, zip(james, english, strict=True), strict=True))
    assert by_reference["Gen", 1, 1][1] == "In the beginning, God created the heavens and the earth."
    assert by_reference["John", 3, 16][1].startswith("For God so loved the world, that he gave his only born Son")
    assert by_reference["John", 11, 35] == ("Jesus wept.", "Jesus wept.")
    assert by_reference["Rev", 22, 21][1] == "The grace of the Lord Jesus Christ be with all the saints. Amen."
    assert by_reference["Rev", 13, 1][1].startswith("Then I stood on the sand of the sea. I saw a beast coming up")
