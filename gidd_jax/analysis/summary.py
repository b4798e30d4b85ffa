"""Summary: the final evaluation of a sweep, one line a group and dial value."""

import textwrap

import numpy as np
import pandas as pd

from gidd_jax.analysis.columns import blocks, column, justified
from gidd_jax.analysis.derive import failures, final, require_dial, swept, untrained, with_derived
from gidd_jax.analysis.intervals import intervals_by
from gidd_jax.analysis.labels import metric_name, metric_unit, sampler_of
from gidd_jax.errors import InputError

FAMILIES = {
    "Performance": (
        *("loss", "jump_loss", "jump_accuracy", "holding_loss", "holding_excess"),
        *("separation", "separation_ceiling", "precision", "recall", "auroc_branch", "auroc_random"),
    ),
    "Likelihood": ("elbo", "bits_per_character", "excess"),
    "Phase core": ("core_loss", "ece"),
    "Decoder": ("bound", "nats", "accuracy", "zeroed", "shuffled"),
    "Scores of pairs, after fine-tuning": ("pearson", "spearman", "error"),
    "Concepts": (
        *("effective_rank", "effective_rank_centred", "rankme", "slot_cosine"),
        *("similarity", "similarity_rank", "topic", "retrieval"),
    ),
    "Samples, and after self-correction": (
        *("sample_nll", "corrected_nll", "sample_entropy", "corrected_entropy", "corrected_share"),
    ),
    "Decoding": ("cell_accuracy", "puzzle_accuracy", "violations", "model_calls"),
    "Coupling": ("benefit_jump", "benefit_holding", "gradient_cosine", "tower_cka"),
    "Knock-outs of the cross path": (
        *("knockout_zero_jump", "knockout_zero_holding", "knockout_shuffle_jump", "knockout_shuffle_holding"),
        *("knockout_random_jump", "knockout_random_holding"),
    ),
}
_HEADLINES = tuple(metric for family in FAMILIES.values() for metric in family)
# In a terminal the second says what the first says, and more.
_TOLD_BY = {
    "loss": "jump_loss",
    "holding_loss": "holding_excess",
    "precision": "separation",
    "recall": "separation",
}
_FLOORED = (
    *("elbo", "jump_loss", "jump_accuracy", "holding_loss", "separation", "pearson", "spearman"),
    *("effective_rank", "effective_rank_centred", "rankme", "similarity", "similarity_rank", "topic", "retrieval"),
)
_WORDS = (
    *("similarity_bag_of_words", "similarity_tf_idf", "similarity_rank_tf_idf"),
    *("retrieval_bag_of_words", "retrieval_tf_idf", "topic_majority"),
)
_RANDOM = ("effective_rank_random", "effective_rank_centred_random", "rankme_random", "slot_cosine_random")
_FIRST = ("jump_loss", "elbo", "bound", "pearson")
_PRESENTED = {"elbo": "tokens", "bound": "tokens", "pearson": "pairs", "noise_error": "images"}
_ORACLES = ("entropy", "oracle_elbo", "holding_floor", "separation_ceiling", "precision_ceiling")


def among(table: pd.DataFrame, metrics: tuple[str, ...]) -> list[str]:
    """Those of the metrics the table holds, in the order asked for, with all variants: '@k' by rising k, '@sampler'."""
    present = table["metric"].unique()
    variants = sorted((m for m in present if "@" in m), key=_variant)
    return [m for base in metrics for m in ([base] if base in present else []) + _variants(variants, base)]


def summary(table: pd.DataFrame, dial: str) -> pd.DataFrame:
    """One line per (group, dial value): for each metric its final mean over replicas and `<metric>±`, the half-width
    of the 95 % t interval, in the metric's units; `replicas` counts all of them and `dead` those that diverged.
    """
    require_dial(table, dial)
    last = final(with_derived(table, dial))
    scalars = last[last["bin"] == -1]
    metrics = among(scalars, _HEADLINES)
    replicas = table[["group", dial, "row"]].drop_duplicates()
    died = pd.MultiIndex.from_frame(failures(table)[["group", "row"]])
    replicas = replicas.assign(dead=pd.MultiIndex.from_frame(replicas[["group", "row"]]).isin(died))
    counts = replicas.groupby(["group", dial], observed=True)["dead"].agg(replicas="size", dead="sum")
    means = intervals_by(scalars[scalars["metric"].isin(metrics)], ["metric", "group", dial])
    lines = [counts]
    for metric in metrics:
        of = means[means["metric"] == metric].set_index(["group", dial])
        lines.append(pd.DataFrame({metric: of["mean"], f"{metric}±": of["high"] - of["mean"]}))
    return pd.concat(lines, axis=1).reset_index()


def format_summary(table: pd.DataFrame, dial: str, width: int = 120) -> str:
    """The summary as aligned plain text of at most `width` columns: performance, then order parameters."""
    lines = summary(table, dial)
    metrics = [m for m in lines.columns if f"{m}±" in lines and _TOLD_BY.get(m) not in lines]
    keys = [column(dial, "", [f"{value:g}" for value in lines[dial]])]
    if lines["group"].nunique() > 1:
        keys.insert(0, column("group", "", [_shortened(str(name)) for name in lines["group"]], str.ljust))
    counts = [column(name, "", [str(count) for count in lines[name]]) for name in ("replicas", "dead")]
    told = []
    for title, family in FAMILIES.items():
        shown = [_metric_column(lines, m) for m in metrics if m.partition("@")[0] in family and not sampler_of(m)]
        shown = counts + shown if shown and not told else shown
        told += _titled(title, blocks(keys, shown, width))
    told += _titled("Samplers", _sampler_blocks(lines, metrics, keys, width))
    notes = [textwrap.fill(note, width, subsequent_indent="  ") for note in _notes(table, dial)]
    return "\n\n".join([*told, "\n".join(notes)])


def learning_visible(table: pd.DataFrame, margin: float = 0.2) -> tuple[bool, pd.DataFrame]:
    """Has the jump head learnt? Final minus untrained jump accuracy (fraction), by t bin, averaged over seeds.

    True if the mean gain over all replicas reaches `margin` in every t bin below .8; above it the board is ambiguous
    even to an oracle. The table has one line per group, setting of the swept hypers, and bin.
    """
    first, last = (rows[rows["metric"] == "jump_accuracy/t"] for rows in (untrained(table), final(table)))
    if first.empty:
        raise InputError("the table holds no jump_accuracy/t at step 0; evaluate before the first step to see learning")
    pairs = last.merge(first[["group", "row", "bin", "value"]], on=["group", "row", "bin"], suffixes=("", "_untrained"))
    pairs = pairs.assign(gain=pairs["value"] - pairs["value_untrained"])
    by_bin = pairs.groupby("bin")["gain"].mean().reindex(range(8))
    by_setting = pairs.groupby(["group", *swept(table), "bin"], observed=True).agg(
        untrained=("value_untrained", "mean"),
        final=("value", "mean"),
        gain=("gain", "mean"),
        replicas=("gain", "count"),
    )
    return bool((by_bin >= margin).all()), by_setting.reset_index()


def presented(table: pd.DataFrame) -> str:
    """What the replicas were shown: the plural of one presentation."""
    present = set(table["metric"])
    return next((unit for metric, unit in _PRESENTED.items() if metric in present), "boards")


def describe_replicas(table: pd.DataFrame, dial: str) -> str:
    """Over what the intervals run: how many seeds, and any other hyper that was averaged over."""
    others = [name.replace("_", " ") for name in swept(table) if name != dial]
    seeds = table["seed"].nunique()
    return f"{seeds} seed{'s' if seeds > 1 else ''}" + (f", pooled over {', '.join(others)}" if others else "")


def _variant(metric: str) -> tuple[bool, int, str]:
    how = metric.partition("@")[2]
    return (not how.isdigit(), int(how) if how.isdigit() else 0, how)


def _variants(variants: list[str], base: str) -> list[str]:
    return [metric for metric in variants if metric.partition("@")[0] == base]


def _metric_column(lines: pd.DataFrame, metric: str) -> list[str]:
    means = justified(["-" if np.isnan(mean) else f"{mean:z.3f}" for mean in lines[metric]], str.rjust)
    known = np.isfinite(lines[f"{metric}±"]) & (metric not in _ORACLES)
    halves = [f" ±{half:.3f}" if shown else "" for half, shown in zip(lines[f"{metric}±"], known, strict=True)]
    cells = [mean + half for mean, half in zip(means, justified(halves, str.ljust), strict=True)]
    return column(metric_name(metric), metric_unit(metric), cells)


def _sampler_blocks(lines: pd.DataFrame, metrics: list[str], keys: list[list[str]], width: int) -> list[str]:
    """A line a sampler and line of the summary; no blocks where there are no samplers."""
    samplers = list(dict.fromkeys(filter(None, map(sampler_of, metrics))))
    keys = [[*key[:3], *key[3:] * len(samplers)] for key in keys]
    keys.append(column("sampler", "", [name for name in samplers for _ in range(len(lines))], str.ljust))
    shown = []
    for base in dict.fromkeys(metric.partition("@")[0] for metric in metrics if sampler_of(metric)):
        each = [lines[[f"{base}@{name}", f"{base}@{name}±"]].set_axis([base, f"{base}±"], axis=1) for name in samplers]
        shown.append(_metric_column(pd.concat(each), base))
    return blocks(keys, shown, width)


def _titled(title: str, parts: list[str]) -> list[str]:
    return [f"{title}{', continued' if i else ''}\n{part}" for i, part in enumerate(parts)]


def _shortened(name: str, width: int = 32) -> str:
    """Both ends of a long name, for groups often differ only at the end."""
    return name if len(name) <= width else f"{name[: width // 2 - 1]}…{name[-width // 2 :]}"


def _notes(table: pd.DataFrame, dial: str) -> list[str]:
    last, floor = final(table), untrained(table)
    shown = [m for m in among(last, _HEADLINES) if _TOLD_BY.get(m) not in set(last["metric"])]
    told = last[(last["bin"] == -1) & last["metric"].isin(shown)]
    measured = told.groupby(["split", "step"], observed=True)["metric"].unique()
    head = next((metric for metric in _FIRST if metric in set(last["metric"])), "loss")
    places = [
        f"split {split}, step {step}" + ("" if head in names else f" ({', '.join(map(metric_name, names))})")
        for (split, step), names in sorted(measured.items(), key=lambda item: head not in item[1])
    ]
    over = describe_replicas(table, dial)
    alone = table.drop_duplicates(["group", dial, "row"]).groupby(["group", dial], observed=True).size().max() == 1
    interval = f"{over}, no interval" if alone else f"mean ±half-width of the 95 % t interval over {over}"
    notes = [f"{'; '.join(places)}; {interval}."]
    if dead := len(failures(table)):
        notes.append(f"dead: a loss or an update was no longer finite; {dead} in all, in no mean.")
    for title, rows, metrics, behind in (
        ("Before training", floor, _FLOORED, ""),
        ("Oracle", last, _ORACLES, ""),
        ("No model", last, _WORDS, ""),
        ("As many random vectors", last, _RANDOM, "_random"),
    ):
        means = rows[rows["bin"] == -1].groupby("metric", observed=True)["value"].mean()
        told = [f"{metric_name(m.removesuffix(behind))} {means[m]:z.3f}" for m in metrics if m in means]
        notes += [f"{title}: {', '.join(told)}."] if told else []
    return notes
