"""Is there a synchronisation gap? A small image DiT is trained, then its pairs of replicas are parted and watched.

    python -m experiments.sync_gap --out runs/sync_gap

The four predictions of arXiv 2603.20987 beside the controls it lacks, with one class and with none given:

1. coarse structure commits before fine. Protocol I: steps after which two replicas can go apart without becoming
   strangers, coarse and fine (eqs. 70-73), as midpoints of sigmoids that refuse flat curves; paired bootstrap over
   seeds of fine - coarse. Told of the control (no coupling, one noise until they part) and of coupled attention.
2. the gap lives in the last layers; 3. it is there at g = 0; 4. it closes as g -> 1. Protocol II without noise: energy
   kept by trailing over leading modes of the difference, by layer (eqs. 74-80). The paper's estimator takes modes and
   energies from the same seeds; here stand beside it the one held out and the null of seeds that forgot everything.
   Jackknife over sets of seeds.

Fixed before any run: a prediction holds where its 95 % interval lies on its side, is refuted where it lies on the
other, is undecided between, and has no answer where a curve is too flat to have a midpoint. "Closes" means that the
interval of held-out gap(g -> 1) - 1 lies within +-0.1.
"""

import argparse
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.sync_gap_report import drawn, table, tell
from experiments.sync_gap_verdicts import ARMS, COUPLINGS, Measured, named, with_jackknife
from gidd_jax import analysis, export, files, progress, sweep
from gidd_jax.commands import flags
from gidd_jax.sampling import replicas
from gidd_jax.studies import syncgap, syncgap_evaluation, syncgap_theory
from gidd_jax.studies.syncgap_model import alike, pair_denoise, strangers, watched_denoise

SIZES = {
    "tiny": {"pairs": 8, "forks": 6, "eval_every": 500, "log_every": 50},
    "full": {"eval_every": 2000, "log_every": 100},
}
MEASURED = {"tiny": {"pairs": 32, "forks": 11, "sets": 8}, "full": {"pairs": 32, "forks": 21, "sets": 16}}


def main(out: pathlib.Path, size: str, kinds: list[int | None], quiet: bool) -> int:
    """Trains or goes on, measures, tells, draws -> exit status: 1 where the model makes no images of its data."""
    flags.prepare_jax()
    config = syncgap.Config(**syncgap.presets[size] | SIZES[size])
    sweep.run(
        syncgap, [(config, sweep.rows(syncgap, seed=[0]))], out / "model", progress.quiet if quiet else progress.bar
    )
    row = export.rows(syncgap, out / "model")[0]["row"]
    _, config, hyper, params = export.load_row(syncgap, out / "model", row)
    data, _ = syncgap.load(config)
    params = jax.tree.map(jnp.asarray, params)
    found = {kind: measured(params, config, data, hyper, kind, **MEASURED[size]) for kind in kinds}
    share = made_well(params, config, data)
    text = [f"{len(data['train'])} training images; samples of a class that the encoder finds in it: {share:.2f}"]
    text += [tell(kind, each, config.sample_steps) for kind, each in found.items()]
    files.write_text(out / "sync_gap.txt", "\n\n".join(text) + "\n")
    table(found).to_csv(out / "sync_gap.csv", index=False, float_format="%.5g")
    for kind, each in found.items():
        name = f"sync_gap_{named(kind).replace(' ', '_')}.png"
        files.write(out / name, lambda path, each=each: drawn(each).savefig(path, dpi=150, format="png"))
    print("\n\n".join(text), f"figures and tables in {out}", sep="\n")
    return 0 if share > 0.5 else 1


def made_well(params: Any, config: syncgap.Config, data: Any) -> float:
    """Share of images, 8 asked for of each class, that the encoder puts into the class asked for."""
    from gidd_jax.models import encoder

    classes = len(data["classes"])
    label = jnp.repeat(jnp.arange(classes), 4)
    shape = config.shape(classes, "float32")
    path = replicas.path(str(config.sample_steps))
    first = replicas.start(jax.random.key(5), (len(label), config.channels, config.size, config.size), 1.0)
    rows = replicas.branches(jnp.asarray([0]), 0.0)
    sample = jax.jit(
        lambda params: replicas.forked(jax.random.key(6), pair_denoise(params["dit"], shape, label), first, path, rows)
    )
    right = encoder.logits(params["encoder"], sample(params)[0]).argmax(-1) == label[None]
    return float(right.mean())


def measured(
    params: Any, config: syncgap.Config, data: Any, hyper: Any, kind: int | None, pairs: int, forks: int, sets: int
) -> Measured:
    """Both protocols of one class, every arm and intervention time in one compiled step."""
    classes = len(data["classes"])
    shape, label = config.shape(classes, "float32"), classes if kind is None else kind
    path = replicas.path(str(config.sample_steps))
    image = (config.channels, config.size, config.size)
    until = np.round(np.linspace(0, config.sample_steps, forks)).astype(int)
    rows = [replicas.branches(jnp.asarray(until), g, shared) for g, shared in ARMS.values()]
    rows = jax.tree.map(lambda *x: jnp.concatenate(x), *rows)
    first = replicas.start(jax.random.key(1), (pairs, *image), hyper.sigma)

    @jax.jit
    def parted(params: Any, data: Any) -> tuple[Any, Any]:
        denoise = pair_denoise(params["dit"], shape, label)
        made = replicas.forked(jax.random.key(2), denoise, first, path, rows)
        centre = syncgap_evaluation.mean_feature(params, data)
        ends = ((made[:, 0], made[:, 1]), strangers(made[:1]))
        return tuple(alike(params["encoder"], *pair, centre, config.pool) for pair in ends)

    same, apart = jax.device_get(parted(params, data))
    arms = {name: slice(i * forks, (i + 1) * forks) for i, name in enumerate(ARMS)}
    curves = [
        {name: np.asarray(part)[at].T for name, at in arms.items()} | {"strangers": np.asarray(other)[0]}
        for part, other in (
            (same.coarse, apart.coarse),
            (same.fine, apart.fine),
            (same.feature_cosine, apart.feature_cosine),
        )
    ]

    first = replicas.start(jax.random.key(3), (sets * pairs, *image), hyper.sigma)

    @jax.jit
    def seen(params: Any, g: jax.Array) -> tuple[Any, Any, Any]:
        denoise = watched_denoise(params["dit"], shape, label, g)
        found = replicas.watched(denoise, first, path)
        _, origin = denoise(first[:, :pairs], path.times[0], lambda h, _: (h[0] - h[1]) / 2**0.5, None)
        return found.grams, found.bands.sum(-1), origin

    @jax.jit
    def coefficients(params: Any, modes: jax.Array, g: jax.Array) -> Any:
        middle = len(path.times) // 2
        x = data["validation"][:8] * path.abar[middle] ** 0.5
        x = x + (1 - path.abar[middle]) ** 0.5 * jax.random.normal(jax.random.key(4), x.shape)
        return syncgap_theory.block_terms(params["dit"], shape, x, path.times[middle], label, g, modes)

    gaps, left_out, bands, terms, dimension = {}, {}, {}, {}, np.nan
    for g in COUPLINGS:
        grams, band, origin = jax.device_get(seen(params, jnp.float32(g)))
        grams = np.moveaxis(grams, 0, 1)  # [L, S, M, M]
        gaps[g], left_out[g] = with_jackknife(grams, sets)
        bands[g] = np.moveaxis(band[..., 1] / band[..., 0] / (band[:1, :, 1] / band[:1, :, 0]), 0, 1)
        dimension = analysis.effective_dimension(grams[-1, 0])
        terms[g] = jax.device_get(coefficients(params, leading_and_trailing(origin), jnp.float32(g)))
    return Measured(until, *curves, gaps, left_out, dimension, bands, terms)


def leading_and_trailing(origin: np.ndarray, count: int = 4) -> jax.Array:
    """The first and the last ``count`` modes of each layer but the last, unit vectors [L-1, 2 count, S, D]."""
    layers, M, *token = origin.shape
    _, _, directions = np.linalg.svd(origin[:-1].reshape(layers - 1, M, -1), full_matrices=False)
    chosen = np.concatenate([directions[:, :count], directions[:, -count:]], axis=1)
    return jnp.asarray(chosen.reshape(layers - 1, 2 * count, *token))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/sync_gap"))
    parser.add_argument("--size", choices=tuple(SIZES), default="tiny")
    parser.add_argument("--kinds", nargs="*", type=int, default=[3], metavar="CLASS", help="besides no class [3]")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args()
    sys.exit(main(arguments.out, arguments.size, [None, *arguments.kinds], arguments.quiet))
