"""Is there a synchronisation gap? A small image DiT is trained, then its pairs of replicas are parted and watched.

    python -m experiments.sync_gap --out runs/sync_gap
    python -m experiments.sync_gap --out runs/paper --model models/dit --kinds 0    # the paper's model, from import-dit

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
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.sync_gap_report import drawn, table, tell
from experiments.sync_gap_verdicts import ARMS, COUPLINGS, PAPER_ARMS, Measured, named, with_jackknife
from gidd_jax import analysis, diffusion, export, files, progress, sweep
from gidd_jax.commands import flags
from gidd_jax.config import from_json
from gidd_jax.errors import InputError
from gidd_jax.models import dit_image, encoder
from gidd_jax.sampling import replicas
from gidd_jax.studies import syncgap, syncgap_theory
from gidd_jax.studies.syncgap_model import alike, centred_features, pair_denoise, strangers, watched_denoise

SIZES = {
    "tiny": {"pairs": 8, "forks": 6, "eval_every": 500, "log_every": 50},
    "full": {"eval_every": 2000, "log_every": 100},
}
MEASURED = {
    "tiny": {"pairs": 32, "forks": 11, "sets": 8},
    "full": {"pairs": 32, "forks": 21, "sets": 16},
    "paper": {"pairs": 32, "forks": 21, "sets": 2, "arms": PAPER_ARMS, "couplings": (0.0, 0.1, 0.3, 0.9)},
}


class Subject(NamedTuple):
    """A model and how its images are looked at.

    ``look``: images -> centred features; ``clean``: images the linear theory is measured about, None for none;
    ``decode``: what the model makes -> images (identity, or the decoder of a latent model).
    """

    params: Any
    shape: dit_image.DitImageConfig
    steps: int
    sigma: float
    pool: int
    look: Callable[[jax.Array], jax.Array]
    clean: jax.Array | None
    decode: Callable[[jax.Array], jax.Array] = lambda x: x


def main(out: pathlib.Path, size: str, kinds: list[int | None], model: pathlib.Path | None, quiet: bool) -> int:
    """Trains or goes on, measures, tells, draws -> exit status: 1 where the model makes no images of its data."""
    flags.prepare_jax()
    subject, told, status = imported(model) if model else trained(out / "model", size, quiet)
    found = {kind: measured(subject, kind, **MEASURED["paper" if model else size]) for kind in kinds}
    text = "\n\n".join([told, *(tell(kind, each, subject.steps) for kind, each in found.items())])
    files.write_text(out / "sync_gap.txt", text + "\n")
    table(found).to_csv(out / "sync_gap.csv", index=False, float_format="%.5g")
    for kind, each in found.items():
        name = f"sync_gap_{named(kind).replace(' ', '_')}.png"
        files.write(out / name, lambda path, each=each: drawn(each).savefig(path, dpi=150, format="png"))
    print(text, f"figures and tables in {out}", sep="\n")
    return status


def imported(directory: pathlib.Path) -> tuple[Subject, str, int]:
    """The model that import-dit wrote, its latents looked at as they are."""
    params, _ = export.read_params(directory)
    about = json.loads((directory / "config.json").read_text())
    if about.get("model") != "dit_image":
        raise InputError(f"{directory}: holds no image transformer; make one with gidd-jax import-dit")
    shape = from_json(dit_image.DitImageConfig, about["config"])
    look = lambda x: x.reshape(*x.shape[:-3], -1)  # noqa: E731
    subject = Subject(jax.tree.map(jnp.asarray, params), shape, 100, 0.5, 8, look, None)
    return subject, f"{directory}: latents, neither decoded nor encoded", 0


def trained(directory: pathlib.Path, size: str, quiet: bool) -> tuple[Subject, str, int]:
    """The model of this size, trained unless it is there; status 1 where its samples are not what was asked for."""
    config = syncgap.Config(**syncgap.presets[size] | SIZES[size])
    sweep.run(syncgap, [(config, sweep.rows(syncgap, seed=[0]))], directory, progress.quiet if quiet else progress.bar)
    _, config, hyper, params = export.load_row(syncgap, directory, export.rows(syncgap, directory)[0]["row"])
    data, _ = syncgap.load(config)
    params = jax.tree.map(jnp.asarray, params)
    look = centred_features(params["encoder"], data)
    shape, clean = config.shape(len(data["classes"]), "float32"), jnp.asarray(data["validation"][:8])
    subject = Subject(params["dit"], shape, config.sample_steps, hyper.sigma, config.pool, look, clean)
    share = made_well(subject, params["encoder"])
    told = f"{len(data['train'])} training images; samples of a class that the encoder finds in it: {share:.2f}"
    return subject, told, int(share < 0.5)


def made_well(subject: Subject, judge: Any) -> float:
    """Share of images, 8 asked for of each class, that the encoder puts into the class asked for."""
    shape, path = subject.shape, replicas.path(str(subject.steps))
    label = jnp.repeat(jnp.arange(shape.classes), 4)
    first = replicas.start(jax.random.key(5), (len(label), shape.channels, shape.size, shape.size), 1.0)
    rows = replicas.branches(jnp.asarray([0]), 0.0)
    denoise = pair_denoise(subject.params, shape, label)
    made = jax.jit(lambda first: replicas.forked(jax.random.key(6), denoise, first, path, rows))(first)
    return float((encoder.logits(judge, made[0]).argmax(-1) == label[None]).mean())


def measured(
    subject: Subject,
    kind: int | None,
    pairs: int,
    forks: int,
    sets: int,
    arms: dict[str, tuple[float, bool]] = ARMS,
    couplings: tuple[float, ...] = COUPLINGS,
) -> Measured:
    """Both protocols of one class, every arm and intervention time in one compiled step."""
    shape, path = subject.shape, replicas.path(str(subject.steps))
    label = shape.classes if kind is None else kind
    image = (shape.channels, shape.size, shape.size)
    until = np.round(np.linspace(0, subject.steps, forks)).astype(int)
    rows = [replicas.branches(jnp.asarray(until), g, shared) for g, shared in arms.values()]
    rows = jax.tree.map(lambda *x: jnp.concatenate(x), *rows)

    @jax.jit
    def parted(params: Any, first: jax.Array) -> tuple[Any, Any]:
        denoise = replicas.in_turn(pair_denoise(params, shape, label), pairs)
        made = subject.decode(replicas.forked(jax.random.key(2), denoise, first, path, rows))
        ends = ((made[:, 0], made[:, 1]), strangers(made[:1]))
        return tuple(alike(subject.look, *pair, subject.pool) for pair in ends)

    first = replicas.start(jax.random.key(1), (pairs, *image), subject.sigma)
    same, apart = jax.device_get(parted(subject.params, first))
    at = {name: slice(i * forks, (i + 1) * forks) for i, name in enumerate(arms)}
    curves = {
        scale: {name: getattr(same, scale)[rows].T for name, rows in at.items()}
        | {"strangers": getattr(apart, scale)[0]}
        for scale in same._fields
    }

    @jax.jit
    def seen(params: Any, first: jax.Array, g: jax.Array) -> tuple[Any, Any, Any]:
        denoise = watched_denoise(params, shape, label, g)
        found = replicas.watched(denoise, first, path)
        _, origin = denoise(first[:, :pairs], path.times[0], lambda h, _: (h[0] - h[1]) / 2**0.5, None)
        return found.grams, found.bands.sum(-1), origin

    @jax.jit
    def coefficients(params: Any, clean: jax.Array, modes: jax.Array, g: jax.Array) -> Any:
        middle = len(path.times) // 2
        x = diffusion.noised(clean, jax.random.normal(jax.random.key(4), clean.shape), path.abar[middle])
        return syncgap_theory.block_terms(params, shape, x, path.times[middle], label, g, modes)

    first = replicas.start(jax.random.key(3), (sets * pairs, *image), subject.sigma)
    gaps, left_out, bands, terms, dimension = {}, {}, {}, {}, np.nan
    for g in couplings:
        grams, band, origin = jax.device_get(seen(subject.params, first, jnp.float32(g)))
        grams = np.moveaxis(grams, 0, 1)  # [L, S, M, M]
        gaps[g], left_out[g] = with_jackknife(grams, sets)
        bands[g] = np.moveaxis(band[..., 1] / band[..., 0] / (band[:1, :, 1] / band[:1, :, 0]), 0, 1)
        dimension = analysis.effective_dimension(grams[-1, 0])
        if subject.clean is not None:
            found = coefficients(subject.params, subject.clean, leading_and_trailing(origin), jnp.float32(g))
            terms[g] = jax.device_get(found)
    return Measured(
        until, curves["coarse"], curves["fine"], curves["feature_cosine"], gaps, left_out, dimension, bands, terms
    )


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
    parser.add_argument("--model", type=pathlib.Path, metavar="DIR", help="what import-dit wrote, in place of training")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args()
    sys.exit(main(arguments.out, arguments.size, [None, *arguments.kinds], arguments.model, arguments.quiet))
