"""What a model without a bottleneck knows: masked diffusion on the same text, its hidden states averaged.

    python -m experiments.concept_ceiling --out runs/concept_ceiling

The transformer of the language study under pure masks, of the width, text, tokens and number of steps of
``experiments.concept_fixes``; a text's vector is the mean of the last hidden states of its clean tokens. Beside
the untrained model: similarity with human scores and the topic probe, as the concept study measures them.
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import pandas as pd

from experiments import command, concept_fixes, concept_floor
from experiments.concept_runs import parser
from gidd_jax import export, files, geometry, progress, sweep
from gidd_jax.analysis import mean_interval
from gidd_jax.commands import flags
from gidd_jax.models import dit
from gidd_jax.studies import concepts, concepts_data, language, language_model
from gidd_jax.studies.concepts_evaluation import PENALTY
from gidd_jax.types import Tree

PRESETS = concept_fixes.PRESETS | {"floor": concept_floor.PRESETS["tiny"]}
RATES = concept_fixes.RATES | {"floor": concept_floor.RATES["tiny"]}
AT_ONCE = 64


def main(out: pathlib.Path, preset: str, seeds: int, quiet: bool, steps: int = 0) -> int:
    """Trains, measures, tells -> exit status: 1 where the bound did not fall."""
    flags.prepare_jax()
    sizes = PRESETS[preset]
    # One tokenizer for both studies, whose splits of the text differ.
    out.mkdir(parents=True, exist_ok=True)
    made = concepts_data.views(concepts.Config(**sizes)).tokenizer
    files.write_text(out / "tokenizer.json", made.document)
    text = concepts.Config(**sizes | {"tokenizer": str(out / "tokenizer.json")})
    data = jax.tree.map(jnp.asarray, concepts.load(text)[0])
    config = language.Config(
        data=text.data,
        tokenizer=text.tokenizer,
        crop="documents",
        length=text.length,
        batch=text.batch,
        d_model=text.d_model,
        heads=text.heads,
        layers=text.decoder_layers + 2,
        steps=steps or text.steps,
        eval_every=steps or text.steps,
        samples=0,
        strata=8,
        schedule="cosine",
        warmup=100,
        clip=1.0,
    )
    hypers = sweep.grid(language, seed=range(seeds), shift=[-1000.0], learning_rate=[RATES[preset]])
    table = sweep.run(language, [(config, hypers)], out / "sweep", progress.quiet if quiet else progress.bar).table
    lines = []
    for entry in export.rows(language, out / "sweep"):
        _, config, hyper, params = export.load_row(language, out / "sweep", entry["row"])
        shape = language_model.shape(config, data)
        untrained = dit.init(jax.random.key(int(hyper.seed)), shape)
        for name, each in (("untrained", untrained), ("trained", params)):
            lines.append({"model": name, "seed": int(hyper.seed)} | measured(each, shape, data))
    found = pd.DataFrame(lines)
    told = tell(found, table, config)
    files.write_text(out / "concept_ceiling.txt", told + "\n")
    found.to_csv(out / "concept_ceiling.csv", index=False, float_format="%.5g")
    print(told)
    elbo = table[table["metric"] == "elbo"].groupby("step")["value"].mean()
    return 0 if elbo.iloc[-1] < elbo.iloc[0] else 1


def measured(params: Tree, shape: dit.DitConfig, data: Tree) -> dict[str, float]:
    """Similarity with human scores, centred too, and the topic probe."""

    @jax.jit
    def vectors(ids: jax.Array, lengths: jax.Array) -> jax.Array:
        def one(row: tuple[jax.Array, jax.Array]) -> jax.Array:
            hidden = dit.features(params, shape, row[0][None].astype(jnp.int32), 0.0)[0]
            weight = (jnp.arange(hidden.shape[0]) < row[1]).astype(hidden.dtype)
            return weight @ hidden / weight.sum()

        return jax.lax.map(one, (ids, lengths), batch_size=AT_ONCE)

    params = jax.tree.map(jnp.asarray, params)
    given, probe = data["similarity"], data["probe"]
    whole = given["share"] @ vectors(given["ids"], given["lengths"])
    found = {}
    for name, rows in (("similarity", whole), ("similarity_centred", whole - whole.mean(0, keepdims=True))):
        cosine = geometry.cosine_similarity(rows)[given["left"], given["right"]]
        found[name] = float(geometry.pearson(cosine, given["score"]))
    train, test = (vectors(data["ids"][probe[k]], data["lengths"][probe[k]]) for k in ("train", "test"))
    labels, classes = (probe["train_label"], probe["test_label"]), probe["classes"].shape[0]
    found["topic"] = float(geometry.ridge_accuracy(train, labels[0], test, labels[1], classes, PENALTY))
    return found


def tell(found: pd.DataFrame, table: pd.DataFrame, config: language.Config) -> str:
    """A line a model: mean ± half-width of the 95 % t interval over seeds."""
    last = table[(table["metric"] == "elbo") & (table["split"] == "validation")]
    last = last[last["step"] == last["step"].max()]
    lines = [
        f"masked diffusion without a bottleneck: width {config.d_model}, {config.layers} layers, {config.steps} steps; "
        f"bound {last['value'].mean():.3f} nats a token; mean ±half-width of the 95 % t interval over {len(last)} seeds"
    ]
    for name, rows in found.groupby("model", sort=False):
        cells = [(metric, mean_interval(rows[metric])) for metric in ("similarity", "similarity_centred", "topic")]
        lines.append(f"{name:10}" + "".join(f"  {m} {f.mean:.3f} ±{f.high - f.mean:.3f}" for m, f in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    with command.line("concept_ceiling"):
        sys.exit(main(**vars(parser(__doc__, "concept_ceiling", PRESETS).parse_args())))
