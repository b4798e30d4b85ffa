"""Tables of the concept experiments: what each setting does, main effects and interactions, verdicts in words."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from gidd_jax import grid
from gidd_jax.analysis import Interval, holm, mean_interval, paired_interval
from gidd_jax.studies import concepts

MEASURES = {
    "bound": "bound (nats per token)",
    "zeroed": "no concepts (+nats)",
    "shuffled": "other's (+nats)",
    "effective_rank": "rank",
    "effective_rank_centred": "rank, centred",
    "rankme": "RankMe",
    "slot_cosine": "cosine",
    "similarity": "Lee-50 (Pearson)",
    "similarity_centred": "Lee-50, centred",
    "topic": "topic probe",
}
"""Metric -> head of its column. bound: -log p or its bound a token to decode, no smoothing, all levels of masking."""

TESTED = tuple(name for name in MEASURES if name not in ("shuffled", "slot_cosine"))

PUBLISHED = """\
Published by the source, one seed each, 128 x 512 concepts, STS-B by three protocols (not comparable with Lee-50 or with
one another): self-diffusion L2 rank 10.1, STS-B .138 (weighted pool); L6 + ELBO + t_min .3: 5.74, .174; + VICReg +
t_regs: 5.09, not run; prefix L6: 6.19, .337; prefix BiXT on WikiText-103: 3.35, .574 zero-shot; MLM L6: 5.07, .627
(CLS query); combined, Kendall-Gal: 122, .341; TSDAE, BiXT: 10.6, .607 zero-shot; prefix, autoregressive: 11.6, .702
zero-shot. Its rank is of the mean over texts, uncentred: an untrained encoder has 16 to 19, random vectors 84."""


def named(table: pd.DataFrame, hypers: concepts.Hyper, names: Sequence[str]) -> pd.DataFrame:
    """The table with the setting of each row by name."""
    by_row = dict(zip(grid.row_ids(hypers), names, strict=True))
    return table.assign(setting=[by_row[row] for row in table["row"]])


def measured(table: pd.DataFrame, step: int | None = None) -> pd.DataFrame:
    """Value of every metric, one column each, by (setting, seed), at ``step`` (default: the last)."""
    step = table["step"].max() if step is None else step
    rows = table[(table["split"] == "validation") & (table["bin"] == -1) & (table["step"] == step)]
    return rows.pivot_table(index=["setting", "seed"], columns="metric", values="value", observed=True, sort=False)


def by_seed(table: pd.DataFrame) -> pd.DataFrame:
    """Untrained and final value of every metric, one line a setting and seed."""
    both = pd.concat({step: measured(table, step) for step in (0, table["step"].max())}, names=["step"])
    return both.reset_index()


def learnt(table: pd.DataFrame) -> pd.Series:
    """By setting: is the bound of every seed below its untrained value?"""
    first, last = measured(table, 0)["bound"], measured(table)["bound"]
    return (last < first).groupby("setting", sort=False).all()


def contrast(values: pd.Series, factors: Sequence[str], names: Sequence[str]) -> pd.Series:
    """Effect of a factor, or interaction of several, of each seed: mean of the settings with less those without.

    Of an interaction the mean where the product of the signs is +1 less where it is -1 (Yates).
    """
    chosen = {tuple(name.split("+")) if name != "-" else (): name for name in values.index.unique("setting")}
    total = 0.0
    for which in itertools.product((0, 1), repeat=len(names)):
        setting = chosen[tuple(name for name, on in zip(names, which, strict=True) if on)]
        sign = np.prod([1 if on else -1 for name, on in zip(names, which, strict=True) if name in factors])
        total = total + sign * values.xs(setting, level="setting")
    return total / 2 ** (len(names) - 1)


def effects(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Every main effect and interaction on every measure: mean, interval over seeds, p after Holm, least found."""
    final, lines = measured(table), []
    for metric in (name for name in TESTED if name in final):
        found = []
        for size in range(1, len(names) + 1):
            for factors in itertools.combinations(names, size):
                each = contrast(final[metric], factors, names).to_numpy()
                found.append((metric, " x ".join(factors), *mean_interval(each), p_value(each), least_found(each)))
        adjusted = holm([line[-2] for line in found])
        lines += [(*line, p) for line, p in zip(found, adjusted, strict=True)]
    return pd.DataFrame(lines, columns=["metric", "effect", "mean", "low", "high", "n", "p", "least", "holm"])


def p_value(each: np.ndarray) -> float:
    """Two-sided t test of mean 0; 1 for fewer than two values or none that differ."""
    spread = each.std(ddof=1) if len(each) > 1 else 0.0
    return float(stats.ttest_1samp(each, 0.0).pvalue) if spread > 0 else 1.0


def least_found(each: np.ndarray, power: float = 0.8) -> float:
    """The least effect that a two-sided t test at .05 finds with probability .8, at the spread seen (before Holm)."""
    if len(each) < 2:
        return np.nan
    error, freedom = each.std(ddof=1) / np.sqrt(len(each)), len(each) - 1
    return float(error * (stats.t.ppf(0.975, freedom) + stats.t.ppf(power, freedom)))


def settings_table(table: pd.DataFrame, names: Sequence[str]) -> str:
    """Mean and half-width of the interval over seeds, a line a setting; first random vectors and the untrained model.

    Random vectors as the first setting has: as many, as wide, as many in use.
    """
    final, first = measured(table), measured(table, 0)
    metrics = [name for name in MEASURES if name in final]
    lines = _random(final.xs(names[0], level="setting"), metrics)
    lines += [["untrained", *_cells(first.groupby("seed").mean(), metrics)]]
    lines += [[name, *_cells(final.xs(name, level="setting"), metrics)] for name in names]
    heads = ["setting", *(MEASURES[name] for name in metrics)]
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
    told = []
    for line in [heads, *lines]:
        cells = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
        told.append("  ".join(cells))
    return "\n".join(told)


def _random(rows: pd.DataFrame, metrics: Sequence[str]) -> list[list[str]]:
    """The line of random vectors, the same in every row; none where they were not measured."""
    known = {name: rows[f"{name}_random"].iloc[0] for name in metrics if f"{name}_random" in rows}
    return [["random vectors", *(f"{known[name]:.3g}" if name in known else "-" for name in metrics)]] if known else []


def _cells(rows: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    found = [mean_interval(rows[name]) for name in metrics]
    return [
        f"{f.mean:.3f} ±{f.high - f.mean:.3f}" if abs(f.mean) < 10 else f"{f.mean:.1f} ±{f.high - f.mean:.1f}"
        for f in found
    ]


def report(
    table: pd.DataFrame,
    found: pd.DataFrame,
    fixes: Sequence[str],
    arms: Sequence[str],
    config: concepts.Config,
    seeds: int,
) -> str:
    """The whole text: settings, arms, effects, verdicts, what is published."""
    final = measured(table)
    settings = [name for name in final.index.unique("setting") if name not in arms]
    shape = f"H{config.d_model} L{config.encoder_layers} C{config.concepts} D{config.decoder_layers}"
    told = [
        f"{shape}, {config.data}, {config.tokenizer}, {config.length} tokens, {config.batch} a step, "
        f"{config.steps} steps; mean ±half-width of the 95 % t interval over {seeds} seeds",
        "The factorial (a fix is on where it is named)\n" + settings_table(table, settings),
        *(["Arms\n" + settings_table(table, arms)] if arms else []),
        "Main effects and interactions (p after Holm below .05 is marked *)\n" + effects_table(found, fixes),
        "Verdicts\n" + "\n".join(verdicts(table, found, settings, config.concepts)),
        PUBLISHED,
    ]
    return "\n\n".join(told)


def effects_table(found: pd.DataFrame, fixes: Sequence[str]) -> str:
    """Main effects of every measure, and the interactions that are shown."""
    lines = []
    for metric, rows in found.groupby("metric", sort=False):
        for _, row in rows[rows["effect"].isin(fixes) | (rows["holm"] < 0.05)].iterrows():
            mark = "*" if row["holm"] < 0.05 else " "
            lines.append(
                f"{MEASURES[metric]:22} {row['effect']:34} {row['mean']:+8.3f} "
                f"[{row['low']:+.3f}, {row['high']:+.3f}] {mark} least found {row['least']:.3f}"
            )
    return "\n".join(lines)


def gates(deep: pd.DataFrame, slots: int) -> list[str]:
    """The note's gates, of fine-tuned STS-B and 128 concepts, held against depth alone: a row each, by the interval."""
    agreed, share = mean_interval(deep["similarity"]), mean_interval(deep["effective_rank"] / slots)
    asked = (
        ("similarity > .50", "depth was the bottleneck", agreed, 0.5, True),
        ("similarity < .30", "self-reconstruction is insufficient", agreed, 0.3, False),
        ("rank > 20 of 128", "a share of .156", share, 20 / 128, True),
    )
    lines = []
    for gate, meaning, value, bar, above in asked:
        over, under = value.low > bar, value.high < bar
        word = "open" if not over and not under else "met" if over == above else "not met"
        lines.append(f"gate     {gate} ({meaning}): {word} by {_interval(value)}; of another test, not comparable")
    return lines


def verdicts(table: pd.DataFrame, found: pd.DataFrame, settings: Sequence[str], slots: int) -> list[str]:
    """What was written down before the run, answered; ``slots``: how many concepts a model has."""
    final, first = measured(table), measured(table, 0)
    of = lambda metric, effect: found[(found["metric"] == metric) & (found["effect"] == effect)].iloc[0]  # noqa: E731
    told = []
    if "similarity" in final:
        main = {name: of("similarity", name) for name in ("depth", "elbo", "prefix", "spread")}
        largest = max(main, key=lambda name: main[name]["mean"])
        dominant = _shown(main["depth"]) == "above 0" and largest == "depth"
        told.append(
            f"claim 1  depth dominates: {'shown' if dominant else 'not shown'}; {_told(main['depth'])}; "
            f"the largest is {largest}"
        )
        told.append(f"claim 2  ELBO and t_min: {_word(main['elbo'])}; {_told(main['elbo'])}")
        told.append(f"claim 3  prefix: {_word(main['prefix'])}; {_told(main['prefix'])}")
        rank = of("effective_rank_centred", "spread")
        told.append(f"claim 4  regulariser, rank: {_word(rank)}; {_told(rank)}; similarity: {_told(main['spread'])}")
        if "all, regulariser late" in final.index.unique("setting"):
            late = _paired(final, "depth+elbo+prefix+spread", "all, regulariser late", "similarity")
            told.append(f"order    from the start less late, similarity: {_interval(late)}")
        trained = final.loc[list(settings), "similarity"].groupby("seed").mean()
        untrained = first.loc[list(settings), "similarity"].groupby("seed").mean()
        floor = paired_interval(trained, untrained)
        word = (
            "above its floor" if floor.low > 0 else "below its floor" if floor.high < 0 else "not told from its floor"
        )
        told.append(f"floor    trained less untrained similarity: {_interval(floor)}: {word}")
        words = {name: final[f"similarity_{name}"].iloc[0] for name in ("bag_of_words", "tf_idf")}
        told.append(f"         counting words: {words['bag_of_words']:.3f}, TF-IDF {words['tf_idf']:.3f}")
        told += gates(final.xs("depth", level="setting"), slots)
    for name, plain in (("no channel", "-"), ("no channel, prefix", "prefix")):
        if name not in final.index.unique("setting"):
            continue
        worth = _paired(final, name, plain, "bound")
        told.append(f"value    bound without the channel less with it ({plain}): {_interval(worth)} nats a token")
    return told


def _paired(final: pd.DataFrame, first: str, second: str, metric: str) -> Interval:
    one, other = (final.xs(name, level="setting")[metric].sort_index() for name in (first, second))
    return paired_interval(one, other)


def _shown(row: pd.Series) -> str:
    return "open" if row["holm"] >= 0.05 else "above 0" if row["mean"] > 0 else "below 0"


def _word(row: pd.Series) -> str:
    return {"open": "open", "above 0": "shown", "below 0": "the opposite is shown"}[_shown(row)]


def _told(row: pd.Series) -> str:
    shown = f"{row['mean']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    return f"{shown}, p {row['holm']:.3g} after Holm, least found {row['least']:.3f}"


def _interval(found: Interval) -> str:
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
