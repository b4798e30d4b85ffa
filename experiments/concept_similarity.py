"""Do trained concepts help to learn human similarity? Fine-tuning on scored pairs, three heads, beside its floors.

    python -m experiments.concept_similarity runs/concepts --row 3f2a 91bc --pairs stsb --out runs/concept_similarity
    python -m experiments.concept_similarity exported/model --pairs scored.csv --held-out scored_test.csv

RUN is a sweep of the concept study (where it has several rows, --row names which) or an exported model. The pairs are a
CSV, TSV, JSONL or parquet file or a Hugging Face name with the columns sentence1, sentence2 and score. Where nothing is
named to measure on, a fifth is held out such that no text is on both sides. Every head x seed, from the trained model
and from an untrained one of its shape, is a row of one call (``studies.pairs``).

Written down before any run: a head gains from training where the paired difference of held-out Spearman correlations,
trained less untrained start, is above 0 in its 95 % t interval over seeds. Seeds are those of the fine-tuning: they say
nothing of how another training of the same concepts would do, which several rows with --row do.
"""

import pathlib
import sys

import pandas as pd

from experiments import command
from gidd_jax import export, files, progress, sweep
from gidd_jax.analysis import mean_interval, paired_interval
from gidd_jax.commands import flags
from gidd_jax.errors import InputError
from gidd_jax.studies import concepts, pairs, pairs_data

MEASURES = {"pearson": "Pearson", "spearman": "Spearman", "error": "error (variances)"}
COUNTED = {"bag_of_words": "counting words", "tf_idf": "TF-IDF"}

PUBLISHED = """\
Published by the source for STS-B, fine-tuned on concatenated pairs at 128 x 512 concepts, one seed each, Pearson:
.138 and .174 (weighted pool, diffusion L2 and L6), .337 (prefix diffusion L6), .627 (first concept) and .650 (via
decoder, both masked language model L6). Other sizes, other text and other training than here: not comparable."""


def main(
    run: pathlib.Path,
    rows: list[str],
    out: pathlib.Path,
    seeds: int,
    rates: list[float],
    tune: list[float],
    quiet: bool,
    **settings: str | int | float,
) -> int:
    """Exports the rows, fine-tunes, tells -> exit status 0. ``settings``: fields of ``pairs.Config``."""
    flags.prepare_jax()
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: give 1 or more")
    train, held, parted = pairs_data.sides(pairs.Config(**settings))
    groups, names = [], []
    grid = {"learning_rate": rates, "tune": tune, "warm": [0.0, 1.0], "head": range(len(pairs.HEADS))}
    hypers = sweep.grid(pairs, seed=range(seeds), **grid)
    for model in models(run, rows, out):
        entry, made, _, _ = export.load_model(concepts, model)
        groups.append((pairs.config_of(made, init_from=str(model), **settings), hypers))
        names.append(f"row {entry['row']}, {made.data}, {entry['step']} steps")
    result = sweep.run(pairs, groups, out / "sweep", progress.quiet if quiet else progress.bar)
    what = f"{groups[0][0].pairs}: {len(train.score)} pairs to learn from, {len(held.score)} held out ({parted})"
    told = tell(result.table, names, what)
    files.write_text(out / "concept_similarity.txt", told + "\n")
    by_row(result.table).to_csv(out / "concept_similarity.csv", index=False, float_format="%.5g")
    print(told, f"tables in {out}", sep="\n")
    return 0


def models(run: pathlib.Path, rows: list[str], out: pathlib.Path) -> list[pathlib.Path]:
    """Directories of exported models: ``run`` itself, or its ``rows``, exported below ``out``."""
    if (run / "params.npz").exists():
        if rows:
            raise InputError(f"--row {rows[0]}: {run} is one model and has no rows; leave --row out")
        return [run.absolute()]
    if (study := export.described(run)["study"]) != concepts.name:
        raise InputError(f"{run}: a sweep of {study}; give one of {concepts.name}")
    found = [export.find(concepts, run, row) for row in rows or [""]]
    made = []
    for entry in found:
        made.append((out / "models" / f"g{entry['group']}-{entry['row']}").absolute())
        export.write(concepts, run, f"g{entry['group']}:{entry['row']}", made[-1])
    return made


def by_row(table: pd.DataFrame) -> pd.DataFrame:
    """Every metric of every evaluation, one line a group, setting, seed and step."""
    rows = table[(table["split"] == "validation") & (table["bin"] == -1)]
    index = ["group", "learning_rate", "tune", "head", "warm", "seed", "step"]
    return rows.pivot_table(index=index, columns="metric", values="value", observed=True, dropna=False).reset_index()


def tell(table: pd.DataFrame, names: list[str], what: str) -> str:
    """Heads from the trained and the untrained start, what they gain, and what needs no fine-tuning."""
    found = by_row(table)
    last, first = found[found["step"] == found["step"].max()], found[found["step"] == 0]
    seeds, cut = found["seed"].nunique(), found["cut"].max()
    lines = [
        f"{what}, {cut:.0%} of them cut to the model's length; step {last['step'].iloc[0]}; "
        f"mean ±half-width of the 95 % t interval over {seeds} seeds"
    ]
    for index, name in enumerate(names):
        own, before = (part[part["group"] == f"g{index}"] for part in (last, first))
        lines += ["", name, f"{'':44}" + "".join(f"{each:>26}" for each in MEASURES.values())]
        for (rate, tune, head), rows in own.groupby(["learning_rate", "tune", "head"]):
            for warm, start in ((1, "trained"), (0, "untrained")):
                part = rows[rows["warm"] == warm]
                setting = f"{pairs.HEADS[head]}, {'all' if tune else 'head alone'}, {rate:g}, {start}"
                lines.append(f"{setting:44}" + "".join(f"{_shown(part[each]):>26}" for each in MEASURES))
            lines.append(f"{'':4}{_gain(rows)}")
        lines.append("each text by itself, without fine-tuning: correlation of cosines, Pearson and Spearman")
        for warm, start in ((1, "trained concepts"), (0, "untrained concepts")):
            part = before[(before["warm"] == warm) & (before["head"] == before["head"].min())]
            lines.append(f"{start:44}{_shown(part['similarity']):>26}{_shown(part['similarity_rank']):>26}")
        for floor, word in COUNTED.items():
            both = (own[f"similarity_{floor}"].iloc[0], own[f"similarity_rank_{floor}"].iloc[0])
            lines.append(f"{word:44}" + "".join(f"{each:>26.3f}" for each in both))
    return "\n".join([*lines, "", PUBLISHED])


def _gain(rows: pd.DataFrame) -> str:
    warm, cold = (rows[rows["warm"] == each].sort_values("seed")["spearman"] for each in (1, 0))
    gain = paired_interval(warm, cold)
    word = "gains from training" if gain.low > 0 else "loses by training" if gain.high < 0 else "no gain told"
    return f"trained less untrained start, Spearman {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]: {word}"


def _shown(values: pd.Series) -> str:
    found = mean_interval(values)
    return f"{found.mean:+.3f} ±{found.high - found.mean:.3f}"


if __name__ == "__main__":
    with command.line("concept_similarity"):
        parser = command.parser("concept_similarity", __doc__)
        parser.add_argument(
            "run", type=pathlib.Path, metavar="RUN", help="a sweep of the concept study, or a model of it"
        )
        parser.add_argument(
            "--row", nargs="+", default=[], metavar="ID", help="first digits of rows (gidd-jax export RUN)"
        )
        parser.add_argument("--pairs", required=True, metavar="FILE", help="scored pairs: file, Hugging Face name, lee")
        parser.add_argument("--held-out", default="", metavar="FILE", help="pairs, or split, to measure on [a fifth]")
        parser.add_argument("--score", default="score", metavar="COLUMN", help="column of the scores [score]")
        parser.add_argument(
            "--pairs-subset", default="", metavar="NAME", help="configuration of a Hugging Face data set"
        )
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/concept_similarity"))
        parser.add_argument("--seeds", type=command.count, default=4, help="how many [%(default)s]")
        parser.add_argument("--steps", type=int, default=1000)
        parser.add_argument("--batch", type=int, default=32, help="pairs a step [32]")
        parser.add_argument("--rate", nargs="+", type=float, default=[1e-3], metavar="X", help="learning rates [.001]")
        parser.add_argument(
            "--tune", nargs="+", type=float, default=[1.0], metavar="X", help="1: all learns; 0: the head"
        )
        parser.add_argument("--quiet", action="store_true")
        given = vars(parser.parse_args())
        given["rows"], given["rates"] = given.pop("row"), given.pop("rate")
        usual = {"schedule": "cosine", "warmup": max(1, given["steps"] // 10), "clip": 1.0}
        sys.exit(main(**given, **usual))
