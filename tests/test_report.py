"""A page holds what the sweep's files hold: the same numbers, nothing that runs, and what failed before what worked."""

import base64
import hashlib
import html.parser
import json
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from gidd_jax import cli, report, sweep
from gidd_jax.errors import InputError
from tests import sweeps
from tests.probes import Config, Regression

VOID = {"meta", "link", "input", "br", "hr"}


class Reader(html.parser.HTMLParser):
    """Raises where a tag is not closed in order; keeps scripts, attributes, and tables as rows of cell texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.scripts, self.links, self.ids, self.tables, self.text = [], [], [], [], {}, []
        self.cell = None
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        assert not any(name.startswith("on") or name == "style" for name in attributes), attributes
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]
        self.ids += [attributes["id"]] if "id" in attributes else []
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append([attributes, ""])
        if tag == "table":
            self.rows = self.tables.setdefault(attributes["id"], [])
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.cell = tag

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag
        self.cell = None if tag == self.cell else self.cell

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1][1] += data
            return
        self.text.append(data)
        if self.cell:
            self.rows[-1][-1] += data


def read(page):
    return Reader(page.read_text("utf-8"))


def lines(reader, table):
    """The rows of a table as dicts by its headings."""
    head, *rows = reader.tables[table]
    return [dict(zip(map(str.strip, head), row, strict=True)) for row in rows]


def run(capsys, *words):
    status = cli.main(["report", *map(str, words)])
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    directory = sweeps.write(tmp_path_factory.mktemp("report") / "a", sweeps.killed(sweeps.table(), 5, 200))
    assert cli.main(["report", str(directory)]) == 0
    return directory / "report.html"


def half(values):
    return stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))


def test_the_table_at_the_end_is_mean_and_interval_over_living_seeds(page):
    table = sweeps.killed(sweeps.table(), 5, 200)
    last = table[(table["split"] == "test") & (table["metric"] == "jump_loss")]
    told = lines(read(page), "end-0")
    assert [line["attention"].strip() for line in told] == ["before training", "0 control", "0.5", "1"]
    for line, dial in zip(told[1:], (0.0, 0.5, 1.0), strict=True):
        values = last.loc[last["attention"] == dial, "value"].dropna()
        living = " n 3" if dial == 0.5 else ""
        assert line["jump lossnats per cell"] == f"{values.mean():.3f} ±{half(values):.3f}{living}"
        assert line["holding loss floornats per cell"] == f"0.140{living}"
    assert told[2]["seeds"] == "4 1 failed"
    first = table[(table["step"] == 0) & (table["metric"] == "jump_loss")]["value"].mean()
    assert told[0]["jump lossnats per cell"] == f"{first:.3f}"


def test_the_script_gets_the_same_numbers(page):
    data = json.loads(read(page).scripts[0][1])
    metric = next(m for m in data["metrics"] if m["key"] == "jump_loss")
    assert data["values"] == [0, 0.5, 1] and metric["name"] == "jump loss"
    table = sweeps.killed(sweeps.table(), 5, 200)
    rows = table[table["metric"] == "jump_loss"]
    along = rows[(rows["split"] == "validation") & (rows["attention"] == 1.0)].groupby("step")["value"]
    way = metric["way"]
    assert data["axes"][way["x"]]["at"] == [0, 100, 200, 300] and way["n"] == [4, [4, 4, 3, 3], 4]
    np.testing.assert_allclose(way["mean"][2], along.mean(), rtol=1e-4)
    np.testing.assert_allclose(way["half"][2], along.agg(half), rtol=1e-4)
    ends = rows[rows["split"] == "test"].set_index("row")["value"]
    dots = dict(zip((row for row, *_ in data["replicas"]), metric["end"]["dots"], strict=True))
    for row, value in ends.items():
        assert dots[row] is None if np.isnan(value) else dots[row] == pytest.approx(value, rel=1e-4)
    bins = table[(table["metric"] == "jump_loss/t") & (table["split"] == "test") & (table["attention"] == 0.0)]
    np.testing.assert_allclose(metric["bins"]["mean"][0], bins.groupby("bin")["value"].mean(), rtol=1e-4)
    floor = next(m for m in data["metrics"] if m["key"] == "holding_loss")["end"]
    assert ["holding loss floor", None, [0.14] * 3] in floor["guides"] and "holding_floor" not in str(data["metrics"])


def test_samplers_have_a_line_each(tmp_path, capsys):
    more = {"puzzle_accuracy@10": 0.2, "puzzle_accuracy@resample": 0.3, "arm_nll@free": 1.5, "arm_nll@0.7": 1.6}
    directory = sweeps.write(tmp_path / "a", sweeps.table(scalars=sweeps.SCALARS | more))
    assert run(capsys, directory)[0] == 0
    reader = read(directory / "report.html")
    told = lines(reader, "variants")
    assert {line["variant"] for line in told} == {"resample", "free", "0.7"} and len(told) == 9
    headings = [name for table, rows in reader.tables.items() if table.startswith("end-") for name in rows[0]]
    assert any("boards solved @10" in name for name in headings)
    assert not any("resample" in name or "arm" in name for name in headings)


def test_the_dead_come_first_and_are_marked(page):
    reader = read(page)
    text = " ".join(reader.text)
    assert "1 of 12 replicas failed" in text and "seed 1: died by step 200" in text
    assert text.index("failed") < text.index("At the end")
    states = {line["replica"]: line["state"] for line in lines(reader, "replicas")}
    assert len(states) == 12 and states.pop(f"{5:012x}") == "died by step 200" and set(states.values()) == {"alive"}


def test_what_was_run_stands_there_with_what_is_not_the_default_first(page):
    reader = read(page)
    changed = {line["setting"]: line["value"] for line in lines(reader, "run-0-g0")}
    assert changed == {"steps": "300", "data": "4x4", "d_model": "32", "decode": "4 16", "dial": "attention"}
    assert [line["setting"] for line in lines(reader, "run-0-g0-rest")] == ["trunk"]
    text = " ".join(reader.text)
    for said in ("gidd-jax sweep sudoku", "grid-0123", "1 × x86_64 CPU", "61.5 s", "1,234 boards/s", "0.10.2"):
        assert said in text, said
    assert "Performance" in text and "95 % t interval over 4 seeds" in text  # as gidd-jax plot prints it


def test_it_loads_nothing_and_admits_its_own_script_only(page):
    text, reader = page.read_text("utf-8"), read(page)
    assert all(link.startswith("#") or link == "data:," for link in reader.links)
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids))
    assert set(re.findall(r"https?://[^\"'\s]*", text)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in text and "@import" not in text
    (data, _), (own, script) = reader.scripts
    assert data["type"] == "application/json" and not own
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src &#x27;none&#x27;; style-src &#x27;sha256-" in text and f"sha256-{digest}" in text


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u2028\ud800"


def test_no_name_or_value_becomes_markup(tmp_path, capsys):
    table = sweeps.table(evaluations=2).rename(columns={"learning_rate": "<b>rate</b>"})
    table["<b>rate</b>"] += table["seed"].isin((2, 3))
    table["row"] += HOSTILE[:40]
    some = table["metric"].isin(["gradient_cosine"])
    table["metric"] = table["metric"].where(~some, "</script><script>alert(3)//")
    configs = [{**sweeps.CONFIG, "data": HOSTILE, HOSTILE: [HOSTILE]}]
    record = {"command": [HOSTILE], "versions": {HOSTILE: HOSTILE, "device": HOSTILE}}
    directory = sweeps.write(tmp_path / "<i>x", table, HOSTILE, configs, **record)
    assert run(capsys, directory)[0] == 0
    reader = read(directory / "report.html")
    raw = (directory / "report.html").read_text("utf-8")
    assert len(reader.scripts) == 2 and raw.count("<script") == 2 and raw.count("</script") == 2
    assert not re.search(r"<(img|b|i|a href=.?[^#\"])[\s>]", raw)
    data = json.loads(reader.scripts[0][1])
    assert any(metric["key"] == "</script><script>alert(3)//" for metric in data["metrics"])
    assert any(HOSTILE[:40] in row for row, *_ in data["replicas"])
    assert any(HOSTILE[:60] in cell for row in reader.tables["run-0-versions"] for cell in row)
    assert any("<b>rate</b> 1.001" in name for name in data["lines"])


def test_256_replicas_stay_small(tmp_path, capsys):
    scalars = sweeps.SCALARS | {f"metric_{i}": float(i) for i in range(10)}
    one = sweeps.table(dials=(0.0,), seeds=1, evaluations=8, scalars=scalars)
    noise = np.random.default_rng(1)
    parts = [
        one.assign(
            row=f"{r:012x}", seed=r % 8, attention=(r // 8) / 31, value=one["value"] + noise.normal(size=len(one))
        )
        for r in range(256)
    ]
    directory = sweeps.write(tmp_path / "many", pd.concat(parts, ignore_index=True))
    assert run(capsys, directory)[0] == 0
    page = directory / "report.html"
    assert page.stat().st_size < 3e6
    data = json.loads(read(page).scripts[0][1])
    assert len(data["replicas"]) == 256 and len(data["settings"]) == 32 and len(data["metrics"]) > 15
    steps = data["axes"][data["metrics"][0]["way"]["x"]]["at"]
    assert steps[0] == 0 and steps[-1] == 700


def test_two_sweeps_stand_side_by_side(tmp_path, capsys):
    first, second = sweeps.table(), sweeps.table(dials=(0.5, 1.0, 2.0), seeds=3, learning_rate=3e-3)
    second["value"] += np.where(second["metric"] == "jump_loss", -0.1, 0.0)
    a = sweeps.write(tmp_path / "a", first)
    b = sweeps.write(tmp_path / "b", second, configs=[{**sweeps.CONFIG, "d_model": 64}])
    assert run(capsys, a, b, "--out", tmp_path / "both.html")[0] == 0
    reader = read(tmp_path / "both.html")
    differs = {line["what"]: (line["a"], line["b"]) for line in lines(reader, "what-differs")}
    assert differs == {
        "replicas": ("12", "9"),
        "dial seed": ("0, 1, 2, 3", "0, 1, 2"),
        "dial attention": ("0, 0.5, 1", "0.5, 1, 2"),
        "dial learning_rate": ("0.001", "0.003"),
        "d_model": ("32", "64"),
    }
    told = [line for line in lines(reader, "side-by-side") if line["metric"] == "jump loss (nats per cell)"]
    assert [line["attention"] for line in told] == ["0.5", "1"]
    pick = [
        t[(t["split"] == "test") & (t["metric"] == "jump_loss") & (t["attention"] == 1.0)].set_index("seed")["value"]
        for t in (first, second)
    ]
    gap = (pick[1] - pick[0]).dropna()
    number, interval = re.match(r"(\S+) ±(\S+)", told[1]["b − adifference"]).groups()
    assert float(number.replace("−", "-")) == pytest.approx(gap.mean(), abs=6e-4)
    assert float(interval) == pytest.approx(half(gap), abs=6e-4)
    ends = [line["setting"] for line in lines(reader, "end-0") if line["attention"] != "before training"]
    assert ends == ["a"] * 3 + ["b"] * 3


def test_groups_are_told_apart_and_hypers_are_not_averaged_over(tmp_path, capsys):
    table = pd.concat([sweeps.table().assign(group="g0"), sweeps.table(learning_rate=0.1).assign(group="g1")])
    configs = [sweeps.CONFIG, {**sweeps.CONFIG, "trunk": "shared"}]
    directory = sweeps.write(tmp_path / "a", table, configs=configs)
    assert run(capsys, directory)[0] == 0
    settings = [line["setting"] for line in lines(read(directory / "report.html"), "end-0")]
    assert list(dict.fromkeys(settings)) == ["trunk towers, learning_rate 0.001", "trunk shared, learning_rate 0.1"]


@pytest.mark.slow
def test_a_real_sweep_of_a_study_that_no_command_knows(tmp_path, capsys):
    columns = {"seed": [0, 1, 0, 1], "coupling": [0.0, 0.0, 1.0, 1.0], "poison_at": [-1, -1, -1, 12]}
    study = Regression()
    config = Config(steps=40, log_every=10, eval_every=20)
    sweep.run(study, [(config, sweep.rows(study, **columns))], tmp_path / "run")
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert run(capsys, tmp_path / "run") == (0, f"{tmp_path / 'run' / 'report.html'}\n", "")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted([*before, "report.html"])
    reader = read(tmp_path / "run" / "report.html")
    assert "1 of 4 replicas failed" in " ".join(reader.text) and "died by step 20" in " ".join(reader.text)
    assert "distance" in reader.tables["end-0"][0] and "run-0-arrays" in reader.tables
    assert len(lines(reader, "replicas")) == 4


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: (d / "config.json").unlink(), "no sweep here"),
        (lambda d: (d / "metrics.parquet").unlink(), "no finished sweep here"),
        (lambda d: (d / "metrics.parquet").write_bytes(b"PAR1"), "cannot be read"),
        (
            lambda d: (d / "config.json").write_text('{"study": 1, "groups": [{"config": 1}]}'),
            "not written by gidd-jax",
        ),
        (lambda d: (d / "config.json").write_text('{"study": "x", "groups": []}'), "holds no group"),
        (lambda d: (d / "config.json").write_text("{"), "cannot be read"),
        (lambda d: sweeps.table().iloc[:0].to_parquet(d / "metrics.parquet"), "holds no line"),
        (lambda d: sweeps.table().drop(columns="bin").to_parquet(d / "metrics.parquet"), "no column 'bin'"),
        (lambda d: sweeps.table().assign(value="x").to_parquet(d / "metrics.parquet"), "must be numbers"),
        (lambda d: sweeps.table().assign(group="g7").to_parquet(d / "metrics.parquet"), "group g7 is not in config"),
    ],
)
def test_a_broken_directory_is_one_line_and_leaves_no_page(tmp_path, capsys, spoil, said):
    directory = sweeps.write(tmp_path / "a", sweeps.table(evaluations=1, seeds=2))
    spoil(directory)
    before = sorted(directory.iterdir())
    status, out, err = run(capsys, directory)
    assert (status, out, err.count("\n")) == (2, "", 1) and said in err
    assert sorted(directory.iterdir()) == before


def test_bad_words_are_one_line(tmp_path, capsys):
    a = sweeps.write(tmp_path / "a", sweeps.table(evaluations=1, seeds=2))
    other = sweeps.write(tmp_path / "b", sweeps.table(evaluations=1, seeds=2), study="language")
    for words, said in (
        ((a, "--dial", "speed"), "--dial speed: no such dial in the table; there are attention, learning_rate"),
        ((a, "--out", tmp_path / "a"), "ends in .html"),
        ((a, "--out", a / "metrics.parquet"), "ends in .html"),
        ((a, "--out", tmp_path / "none" / "x.html"), "no such directory"),
        ((a, a), "named twice"),
        ((a, other), "make a report of each"),
        ((tmp_path / "nowhere",), "no such directory"),
        ((), "the following arguments are required"),
    ):
        status, out, err = run(capsys, *words)
        assert (status, out, err.count("\n")) == (2, "", 1) and said in err, err
    assert {path.name for path in tmp_path.rglob("*.html")} == set()


def test_it_needs_no_jax(page, tmp_path):
    code = "import sys; sys.modules['jax'] = None; from gidd_jax import cli; sys.exit(cli.main(sys.argv[1:]))"
    words = ["report", str(page.parent), "--out", str(tmp_path / "x.html")]
    subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
    unit = "attention (dimensionless)"  # known from the study's code alone
    assert unit not in (tmp_path / "x.html").read_text("utf-8") and unit in page.read_text("utf-8")


POOR = {
    "one row": sweeps.table(dials=(0.0,), seeds=1, evaluations=2),
    "all dead": sweeps.table(seeds=2, evaluations=2).assign(
        value=lambda t: t["value"].where(t["metric"] == "x", np.nan)
    ),
    "infinite": sweeps.table(seeds=2, evaluations=2).assign(value=np.inf),
    "no dial moved": sweeps.table(dials=(0.5,), seeds=3, evaluations=2),
    "bins alone": sweeps.table(seeds=2, evaluations=2).query("bin >= 0"),
    "no step 0": sweeps.table(seeds=2, evaluations=3).query("step > 0"),
    "tiny": sweeps.table(seeds=2, evaluations=2).assign(value=lambda t: t["value"] * 1e-9),
}


@pytest.mark.parametrize("table", POOR.values(), ids=POOR.keys())
def test_poor_tables_still_become_whole_pages(table, tmp_path, capsys):
    directory = sweeps.write(tmp_path / "a", table)
    assert run(capsys, directory)[0] == 0
    assert lines(read(directory / "report.html"), "replicas")


def test_unread_pages_are_not_needed_to_know_the_dial(tmp_path):
    directory = sweeps.write(tmp_path / "a", sweeps.table(dials=(0.5,), evaluations=1, learning_rate=1.0))
    found = report.sweeps([directory])
    assert report.dial_of(found, None) == "attention" and report.dial_of(found, "learning_rate") == "learning_rate"
    moved = sweeps.write(tmp_path / "b", sweeps.table(dials=(0.5,), evaluations=1).eval("learning_rate = seed * .1"))
    assert report.dial_of(report.sweeps([moved]), None) == "learning_rate"
    with pytest.raises(InputError, match="no such dial"):
        report.dial_of(found, "seed")
