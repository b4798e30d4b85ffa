"""Both protocols and the theory, measured on one model and class by programs that are compiled once for all of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.sync_gap_verdicts import (
    ARMS,
    CLOSED,
    COUPLINGS,
    NATURAL,
    PARTS,
    SCALES,
    STRONG,
    Coupling,
    Measured,
    Theory,
    with_jackknife,
)
from gidd_jax import analysis, replica
from gidd_jax.models import dit_image
from gidd_jax.sampling import replicas
from gidd_jax.studies import syncgap_theory
from gidd_jax.studies.syncgap_model import alike, pair_denoise, strangers, watched_denoise

BAND = 4
"""Leading modes the theory is measured along, and as many trailing ones."""
ABOUT = 8
"""Images about which a pair is taken to be symmetric where the blocks are differentiated."""
SEEN = 2
"""Times ``Plan.pairs`` pairs are parted to see when single modes do: one mode is noisier than an image."""


class Plan(NamedTuple):
    """How much is measured: ``pairs`` by ``forks`` steps of parting by arms; ``sets`` of pairs watched by couplings."""

    pairs: int
    forks: int
    sets: int
    arms: dict[str, tuple[Coupling, bool]] = ARMS
    couplings: tuple[Coupling, ...] = COUPLINGS


class Maker(NamedTuple):
    """What models of several seeds have in common.

    ``look``: (what it needs, images) -> features, centred where the model was trained here; ``decode``: what the model
    makes [2, pairs, C, Y, X] -> images (identity, or a latent model's decoder); ``theory``: whether it is measured.
    """

    shape: dit_image.DitImageConfig
    steps: int
    sigma: float
    pool: int
    look: Callable[[Any, jax.Array], jax.Array]
    theory: bool
    decode: Callable[[jax.Array], jax.Array] = lambda x: x


class Subject(NamedTuple):
    """A model, and what looking at its images needs."""

    seed: int
    params: Any
    eyes: Any


class Programs(NamedTuple):
    """The compiled measurements of one ``Maker`` and ``Plan``; each takes (parameters, class, ...)."""

    parted: Callable[..., Any]
    entering: Callable[..., jax.Array]
    watched: Callable[..., Any]
    terms: Callable[..., Any]
    local: Callable[..., Any]
    ended: Callable[..., jax.Array]


def until(maker: Maker, plan: Plan) -> np.ndarray:
    """Steps after which pairs part, from none to all."""
    return np.round(np.linspace(0, maker.steps, plan.forks)).astype(int)


def programs(maker: Maker, plan: Plan) -> Programs:
    """Compiles nothing yet; whatever differs between models, classes and couplings is an argument."""
    shape, path, at = maker.shape, replicas.path(str(maker.steps)), until(maker, plan)
    by_layer = lambda coupling: jnp.asarray(coupling.by_layer(shape.layers), jnp.float32)  # noqa: E731
    rows = [replicas.branches(jnp.asarray(at), by_layer(g), shared) for g, shared in plan.arms.values()]
    rows += [replicas.branches(jnp.asarray(at[-1:]), by_layer(Coupling(1.0, part)), False) for part in PARTS[1:]]
    rows = jax.tree.map(lambda *x: jnp.concatenate(x), *rows)
    slices = jnp.minimum(jnp.asarray(at), maker.steps - 1)

    @jax.jit
    def parted(params: Any, label: jax.Array, eyes: Any, first: jax.Array) -> tuple[Any, Any]:
        denoise = replicas.in_turn(pair_denoise(params, shape, label), plan.pairs)
        images = jax.lax.map(maker.decode, replicas.forked(jax.random.key(2), denoise, first, path, rows))
        look = lambda x: maker.look(eyes, x)  # noqa: E731
        same = alike(look, images[:, 0], images[:, 1], maker.pool)
        return same, alike(look, *strangers(images[:1]), maker.pool)

    def apart(params: Any, x: jax.Array) -> jax.Array:
        return replicas.difference(dit_image.embedded(params, shape, x))

    def entered(params: Any, x: jax.Array, modes: jax.Array) -> jax.Array:
        return jnp.einsum("msd,ksd->km", apart(params, x), modes[0], precision="highest")

    @jax.jit
    def entering(params: Any, label: jax.Array, g_L: jax.Array, first: jax.Array) -> jax.Array:
        denoise = watched_denoise(params, shape, label, g_L[:, None])
        with jax.default_matmul_precision("highest"):
            _, after = denoise(first, path.times[0], replicas.difference, None)
        return jnp.concatenate([apart(params, first)[None], after])

    @jax.jit
    def watched(params: Any, label: jax.Array, g_L: jax.Array, first: jax.Array, origin: Any, modes: Any) -> Any:
        def watch(tokens: jax.Array, beside: Any) -> Any:
            return replicas.energies(tokens, beside[0]), syncgap_theory.projected(tokens, beside[1])

        def aside(x: jax.Array) -> tuple[jax.Array, jax.Array]:
            return entered(params, x, modes), x[0, :ABOUT]

        denoise = watched_denoise(params, shape, label, g_L[:, None])
        beside = (origin, syncgap_theory.beside(modes))
        ((grams, bands), seen), (embedded, x) = replicas.followed(denoise, first, path, watch, beside, aside)
        held_out = slice(plan.pairs, None)
        found = syncgap_theory.amplitudes(seen[slices][..., held_out], embedded[slices][..., held_out])
        return grams, bands, found, x[slices]

    @jax.jit
    def terms(params: Any, label: jax.Array, g: jax.Array, x: jax.Array, modes: jax.Array) -> Any:
        def of_step(each: tuple[jax.Array, jax.Array]) -> Any:
            return syncgap_theory.block_terms(params, shape, *each, label, g, modes)

        return jax.lax.map(of_step, (x, path.times[slices]))

    @jax.jit
    def local(found: Any, eta: jax.Array) -> Any:
        return syncgap_theory.local(found, eta), syncgap_theory.closure_error(found, eta)

    @jax.jit
    def ended(params: Any, label: jax.Array, first: jax.Array, modes: jax.Array) -> jax.Array:
        denoise = replicas.in_turn(pair_denoise(params, shape, label), plan.pairs)
        control = replicas.branches(jnp.asarray(at), 0.0, True)
        made = replicas.forked(jax.random.key(2), denoise, first, path, control)

        def of_row(x: jax.Array) -> jax.Array:
            alone = watched_denoise(params, shape, label, jnp.zeros((shape.layers, 1)))
            _, seen = alone(x, path.times[-1], syncgap_theory.projected, syncgap_theory.beside(modes))
            return syncgap_theory.amplitudes(seen[None], entered(params, x, modes)[None]).before[0]

        with jax.default_matmul_precision("highest"):
            return jax.lax.map(of_row, made)

    return Programs(parted, entering, watched, terms, local, ended)


def measured(maker: Maker, plan: Plan, run: Programs, subject: Subject, kind: int | None) -> Measured:
    """Both protocols of one model and class, every arm and intervention time in one compiled step."""
    shape, at = maker.shape, until(maker, plan)
    label = jnp.int32(shape.classes if kind is None else kind)
    image = (shape.channels, shape.size, shape.size)
    first = replicas.start(jax.random.key(1), (plan.pairs, *image), maker.sigma)
    same, apart = jax.device_get(run.parted(subject.params, label, subject.eyes, first))
    place = {name: slice(i * plan.forks, (i + 1) * plan.forks) for i, name in enumerate(plan.arms)}
    curves = {
        scale: {name: getattr(same, scale)[rows].T for name, rows in place.items()}
        | {"strangers": getattr(apart, scale)[0]}
        for scale in SCALES
    }
    ends = {
        scale: dict(zip(PARTS[1:], getattr(same, scale)[-2:], strict=True)) | {PARTS[0]: curves[scale][CLOSED][:, -1]}
        for scale in SCALES
    }
    first = replicas.start(jax.random.key(3), (plan.sets * plan.pairs, *image), maker.sigma)
    ratios, left_out, theory, dimension = {}, {}, {}, np.nan
    for coupling in plan.couplings:
        g = jnp.asarray(coupling.by_layer(shape.layers), jnp.float32)
        origin = run.entering(subject.params, label, g, first)
        modes = leading_and_trailing(np.asarray(origin[:-1, : plan.pairs]), BAND if maker.theory else 0)
        grams, bands, found, x = run.watched(subject.params, label, g, first, origin[1:], modes)
        grams, bands = np.moveaxis(np.asarray(grams), 0, 1), np.moveaxis(np.asarray(bands), 0, 1)
        ratios[coupling], left_out[coupling] = with_jackknife(grams, bands, plan.sets)
        if coupling == NATURAL:
            dimension = analysis.effective_dimension(grams[-1, 0])
        if maker.theory and coupling in (NATURAL, STRONG):
            terms = run.terms(subject.params, label, jnp.float32(coupling.g), x, modes)
            of = predicted(at, coupling, terms, found, run.local)
            if coupling == NATURAL:
                parting = run.ended(subject.params, label, first[:, : SEEN * plan.pairs], modes)
                of = of._replace(observed=observed(at, np.asarray(parting)))
            theory[coupling] = of
    return Measured(at, curves, ends, ratios, left_out, dimension, theory)


def predicted(at: np.ndarray, coupling: Coupling, terms: Any, found: Any, local: Any) -> Theory:
    """What the theory makes of what was measured."""
    eta = replica.mode_gain(coupling.g, terms.chi, terms.pi, terms.feed)
    of, closure = local(found, eta)
    crossing = replica.speciation_step(jnp.moveaxis(of.kappa, 0, -1))
    steps = np.minimum(at, at[-1] - 1)
    index = np.asarray(crossing.step)
    when = np.where(np.isfinite(index), np.interp(np.nan_to_num(index), np.arange(len(steps)), steps), np.nan)
    return Theory(steps, *jax.device_get((terms, eta, found, of, closure)), when)


def observed(at: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Midpoint of the mean square [L, K] of differences [T, L, K, M] by the step of parting; NaN where refused."""
    power = np.square(ends).mean(-1)
    middles = [analysis.fit_sigmoid(at, power[:, l, k], rising=False).midpoint for l, k in np.ndindex(power.shape[1:])]
    return np.array(middles).reshape(power.shape[1:])


def leading_and_trailing(origin: np.ndarray, band: int = BAND) -> jax.Array:
    """The first and the last ``band`` modes of what each block reads [L, M, S, D], unit vectors [L, 2 band, S, D]."""
    layers, M, *token = origin.shape
    if not band:
        return jnp.zeros((layers, 0, *token))
    _, _, directions = np.linalg.svd(origin.reshape(layers, M, -1), full_matrices=False)
    chosen = np.concatenate([directions[:, :band], directions[:, -band:]], axis=1)
    return jnp.asarray(chosen.reshape(layers, 2 * band, *token))
