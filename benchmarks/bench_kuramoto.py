"""One synchronisation curve, r against K of many oscillators and seeds: this package beside two others from PyPI.

All integrate the same phases and frequencies over the same time and take the mean of r over its second half. How much
the curves differ stands in the notes: a fast wrong curve would show.
"""

import importlib
import json
import pathlib
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.flops import Rates
from benchmarks.harness import Compiled, Pace, Row, Sample, compiled, once, paired, sample
from gidd_jax import kuramoto, sweep
from gidd_jax.studies import kuramoto as study

DT = 0.1
COUPLINGS = (0.8, 3.0)
PULLS = {"rk4": 4, "split": 3}
"""Times a step evaluates the sine and the cosine of every phase: once a slope, and once more for r after a rotation."""


class Sizes(NamedTuple):
    """Size of the curve; trajectories timed of the package that takes one at a time; whole sweeps, their widths."""

    oscillators: int
    couplings: int
    seeds: int
    steps: int
    timed: int
    sweeps: int
    widths: tuple[int, ...] = (16, 1)


SCALES = {
    "full": Sizes(1000, 32, 8, 500, 5, 5),
    "quick": Sizes(64, 4, 2, 100, 2, 1, (16,)),
    "tiny": Sizes(8, 2, 2, 8, 2, 1, (2,)),
}


def rows(sizes: Sizes, pace: Pace, rates: Rates) -> Iterator[Row]:
    """Ours by two integrators, theirs beside the first; then the whole sweep with its table."""
    couplings = np.linspace(*COUPLINGS, sizes.couplings)
    omega, theta = _start(sizes)
    K = jnp.asarray(couplings, jnp.float32)
    shape = {"N": sizes.oscillators, "K": sizes.couplings, "seeds": sizes.seeds, "steps": sizes.steps}
    made = {method: compiled(partial(_curve, method, sizes.steps), theta, omega, K) for method in PULLS}
    run = {method: partial(made[method].call, theta, omega, K) for method in PULLS}
    waves = _waves_seconds(sizes, pace)
    floor = {method: count * sizes.steps * waves for method, count in PULLS.items()}

    if (theirs := _installed("jaxkuramoto")) is not None:
        other = compiled(partial(_jaxkuramoto_curve, theirs, sizes.steps), theta, omega, K)
        first, second, ratio = paired(run["rk4"], partial(other.call, theta, omega, K), pace)
        apart = float(jnp.abs(other.call(theta, omega, K) - run["rk4"]()).max())
        note = f"its odeint by runge_kutta under jit and vmap; a mean r differs from ours by {apart:.2g} at most"
        yield Row("kuramoto/jaxkuramoto", shape | {"method": "rk4"}, second, other, note=note)
        against = "jaxkuramoto"
    else:
        first, ratio, against = sample(run["rk4"], pace), None, ""
        yield Row("kuramoto/jaxkuramoto", shape, note="jaxkuramoto is not installed")
    yield Row("kuramoto/simulate", shape | {"method": "rk4"}, first, made["rk4"], against, ratio, None, floor["rk4"])
    split = sample(run["split"], pace)
    yield Row("kuramoto/simulate", shape | {"method": "split"}, split, made["split"], floor_s=floor["split"])
    yield from _one_at_a_time(sizes, shape, theta, omega, couplings, np.asarray(run["rk4"]()), first)
    yield from _whole_sweep(sizes, shape, couplings)


def _start(sizes: Sizes) -> tuple[jax.Array, jax.Array]:
    """Gaussian frequencies and phases on the circle, [seeds, N] each."""
    of_omega, of_theta = jax.random.split(jax.random.key(0))
    keys = jax.random.split(of_omega, sizes.seeds)
    omega = jax.vmap(lambda key: kuramoto.random_frequencies(key, "gaussian", 1.0, sizes.oscillators))(keys)
    return omega, jax.random.uniform(of_theta, omega.shape, minval=-jnp.pi, maxval=jnp.pi)


def _curve(method: str, steps: int, theta: jax.Array, omega: jax.Array, K: jax.Array) -> jax.Array:
    """Mean r [seeds, K] over the second half."""
    r = kuramoto.simulate(theta[:, None], omega[:, None], K[None], DT, steps, method)[1]
    return r[steps // 2 :].mean(axis=0)


def _jaxkuramoto_curve(package: Any, steps: int, theta: jax.Array, omega: jax.Array, K: jax.Array) -> jax.Array:
    """The same by ``jaxkuramoto``, vmapped: its own loop takes one trajectory and compiles it anew each time."""

    def one(theta: jax.Array, omega: jax.Array, K: jax.Array) -> jax.Array:
        model = package.Kuramoto(omega, K)
        end = (steps - 0.5) * DT
        found = package.odeint(
            model.vector_fn, package.solver.runge_kutta, 0.0, end, DT, theta, observable_fn=model.orderparameter
        )
        return found.observables[steps // 2 :].mean()

    return jax.vmap(lambda theta, omega: jax.vmap(partial(one, theta, omega))(K))(theta, omega)


def _one_at_a_time(
    sizes: Sizes,
    shape: dict[str, Any],
    theta: jax.Array,
    omega: jax.Array,
    couplings: np.ndarray,
    curve: np.ndarray,
    ours: Sample,
) -> Iterator[Row]:
    """``kuramoto`` on some trajectories, spread over K, as if all took their mean: all of them would take an hour."""
    package = _installed("kuramoto")
    if package is None:
        yield Row("kuramoto/kuramoto", shape, note="kuramoto is not installed")
        return
    everyone = np.ones((sizes.oscillators, sizes.oscillators))
    chosen = np.linspace(0, sizes.couplings - 1, sizes.timed).round().astype(int)
    start, own = np.asarray(theta[0], float), np.asarray(omega[0], float)
    seconds, apart = [], 0.0
    for k in chosen:
        model = package.Kuramoto(float(couplings[k]), DT, sizes.steps * DT, natfreqs=own)
        found: list[np.ndarray] = []
        # One lap, not warmed up: a trajectory takes seconds, and nothing of it is compiled.
        spent = once(lambda model=model, found=found: found.append(model.run(everyone, start)))
        r = np.abs(np.exp(1j * found[0][:, found[0].shape[1] // 2 :]).mean(axis=0)).mean()
        apart = max(apart, abs(r - curve[0, k]))
        seconds.append(spent * sizes.couplings * sizes.seeds)
    taken = Sample(tuple(seconds), 1)
    total = float(np.mean(seconds))
    note = (
        f"{sizes.timed} of {sizes.couplings * sizes.seeds} trajectories timed, one at each of {sizes.timed} couplings, "
        f"and scaled up (mean {total:.4g} s); adaptive LSODA to 1.5e-8, N^2 sines a slope, one core; "
        f"a mean r differs from ours by {apart:.2g} at most. simulate by rk4 is {total / ours.median:.4g} times as fast"
    )
    yield Row("kuramoto/kuramoto", shape | {"method": "lsoda"}, taken, note=note)


def _whole_sweep(sizes: Sizes, shape: dict[str, Any], couplings: np.ndarray) -> Iterator[Row]:
    """``sweep.run`` of the study on the same grid, all that a user waits for, and what of it were steps."""
    settings = {"steps": sizes.steps, "log_every": sizes.steps, "eval_every": sizes.steps, "dt": DT}
    hypers = sweep.grid(study, seed=range(sizes.seeds), coupling=couplings.tolist())
    for width in sizes.widths:
        config = study.Config(oscillators=sizes.oscillators, width=width, **settings)
        whole, running, compiling = [], [], 0.0
        for _ in range(sizes.sweeps):
            with tempfile.TemporaryDirectory() as out:
                whole.append(once(lambda out=out, config=config: sweep.run(study, [(config, hypers)], out)))
                lines = [json.loads(line) for line in (pathlib.Path(out) / "timing.jsonl").read_text().splitlines()]
            timed = {line["event"]: line["seconds"] for line in lines}
            running.append(timed["trained"])
            compiling = timed["compile"]
        built = Compiled(lambda: None, 0.0, compiling, None)
        named = shape | {"method": "split", "width": width}
        note = "all a user waits for: compile (a step's is shown), steps, evaluation, checkpoint, table"
        yield Row("kuramoto/sweep.run", named, Sample(tuple(whole), 1), built, note=note)
        yield Row("kuramoto/sweep.run, its steps", named, Sample(tuple(running), 1), note="steps and one evaluation")


def _waves_seconds(sizes: Sizes, pace: Pace, turns: int = 20) -> float:
    """Seconds for one sine and one cosine of every phase, when next to nothing else is done."""

    def again(_: int, x: jax.Array) -> jax.Array:
        return x + 1e-3 * kuramoto._waves(x).sum(axis=-2)

    x = jnp.linspace(-3.0, 3.0, sizes.couplings * sizes.seeds * sizes.oscillators).reshape(-1, sizes.oscillators)
    made = compiled(lambda x: jax.lax.fori_loop(0, turns, again, x), x)
    return min(sample(lambda: made.call(x), pace).seconds) / turns


def _installed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
