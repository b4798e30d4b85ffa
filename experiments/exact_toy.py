"""When do two replicas commit to one branch? Predicted against measured, where the score is known; nothing is trained.

    python -m experiments.exact_toy --out runs/exact_toy

Each mode k is a mixture of two Gaussians at +-m_k of variance c_k, diffused by the linear schedule and sampled back in
100 steps (eta = 1) with its exact score. Theory (arXiv 2603.20987, eqs. 34-51; Biroli et al. 2024): a branch opens
where the score's slope at 0 changes sign, abar_k = 1 / (1 + m_k^2 - c_k). Measured: two replicas share start and noise
for s steps, then only the noise parts; how often do they end on the same side? The midpoint of the sigmoid through that
curve stands against the prediction. Fixed before any run: of m = (4, 1), c = .04 each midpoint within 4 steps of its
prediction, their gap within 3.

Two controls: pairs of independent starts and noise (agreement 1/2), and the restoring force of eqs. 4-5 under
independent noise, which does bring replicas together, and by how much at which g.
"""

import pathlib
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments import command
from gidd_jax import analysis, diffusion, files, replica
from gidd_jax.commands import flags
from gidd_jax.errors import InputError

STEPS = 100
PAIR = (4.0, 1.0)
LADDER = (6.0, 4.0, 3.0, 2.0, 1.5, 1.0, 0.7)
VARIANCE = 0.04
FORKS = np.arange(0, STEPS + 1, 5)
PULLS = (0.0, 0.02, 0.1, 0.5, 2.0)
GROUPS = 40
"""Pairs are told in so many groups: a row of the bootstrap is the agreement within one."""


class Commitment(NamedTuple):
    """Of one mode: the predicted step, the measured one with its 95 % interval, agreement by step [F]."""

    predicted: float
    measured: float
    low: float
    high: float
    agreement: np.ndarray


def main(out: pathlib.Path, pairs: int, seed: int) -> int:
    """Measures, tells, draws -> exit status: 1 where a criterion fails."""
    flags.prepare_jax()
    keys = jax.random.split(jax.random.key(seed), 3)
    found, ladder = committed(keys[0], PAIR, pairs), committed(keys[1], LADDER, pairs)
    pulled = restored(keys[2], PAIR, pairs)
    text = "\n\n".join([tell(found, ladder), tell_pulled(pulled)])
    files.write_text(out / "exact_toy.txt", text + "\n")
    table(found, ladder).to_csv(out / "exact_toy.csv", index=False, float_format="%.5g")
    files.write(out / "exact_toy.png", lambda path: drawn(found, ladder).savefig(path, dpi=150, format="png"))
    print(text, f"figure and table in {out}", sep="\n")
    return 0 if all(holds(found).values()) else 1


def abars() -> np.ndarray:
    """abar before each step and after the last, [STEPS + 1], rising to 1."""
    return np.append(diffusion.linear_abar()[diffusion.respaced(str(STEPS))][::-1], 1.0)


def predicted(m: float) -> float:
    """Steps after which abar is 1 / (1 + m^2 - c), by a straight line between steps."""
    return float(np.interp(1 / (1 + m**2 - VARIANCE), abars(), np.arange(STEPS + 1)))


def committed(key: jax.Array, means: tuple[float, ...], pairs: int) -> list[Commitment]:
    """Replicas that share start and noise for 0, 5, ... 100 steps."""
    start_key, key = jax.random.split(key)
    start = jax.random.normal(start_key, (pairs, len(means)))
    start = jnp.broadcast_to(start, (len(FORKS), 2, *start.shape))
    ends = sampled(key, start, means, jnp.asarray(FORKS), jnp.zeros(len(FORKS)))
    same = np.asarray(ends[:, 0] * ends[:, 1] > 0, float)  # [F, pairs, K]
    grouped = same.reshape(len(FORKS), GROUPS, -1, len(means)).mean(2)
    idx = np.random.default_rng(0).integers(GROUPS, size=(1000, GROUPS))
    found = []
    for k, m in enumerate(means):
        agreement = same[..., k].mean(1)
        spread = analysis.bootstrap_midpoint(FORKS, grouped[..., k].T, idx, rising=True)
        # A resample whose fit is refused makes the interval unknown, not narrower.
        low, high = np.quantile(spread, [0.025, 0.975]) if np.isfinite(spread).all() else (np.nan, np.nan)
        midpoint = analysis.fit_sigmoid(FORKS, agreement, rising=True).midpoint
        found.append(Commitment(predicted(m), midpoint, float(low), float(high), agreement))
    return found


def restored(key: jax.Array, means: tuple[float, ...], pairs: int) -> np.ndarray:
    """Agreement [g, K] of independent starts under independent noise and the restoring force g; g = 0 is no force."""
    start_key, key = jax.random.split(key)
    start = jax.random.normal(start_key, (2, pairs, len(means)))
    start = jnp.broadcast_to(start, (len(PULLS), *start.shape))
    ends = sampled(key, start, means, jnp.zeros(len(PULLS)), jnp.asarray(PULLS))
    return np.asarray((ends[:, 0] * ends[:, 1] > 0).mean(1))


@jax.jit
def sampled(key: jax.Array, start: jax.Array, means: jax.Array, shared: jax.Array, pull: jax.Array) -> jax.Array:
    """Rows of pairs [F, 2, pairs, K] from noise to data; each row shares its noise for ``shared`` [F] steps.

    pull [F]: the restoring force, in units of 1 / (beta t).
    """
    means = jnp.stack(means)
    levels = jnp.asarray(abars(), jnp.float32)

    def score(x: jax.Array, m: jax.Array, c: jax.Array) -> jax.Array:
        return replica.mixture_score(x[..., None], m[None], c[None, None])[..., 0]

    def step(x: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        now, then = levels[i], levels[i + 1]
        m, c = jnp.sqrt(now) * means, jnp.full(means.shape, now * VARIANCE + 1 - now)
        eps = -jnp.sqrt(1 - now) * jax.vmap(score, (-1, 0, 0), -1)(x, m, c)
        common, own = jax.random.split(jax.random.fold_in(key, i))
        together = (i < shared).reshape(-1, 1, 1, 1)
        noise = jnp.where(
            together, jax.random.normal(common, (1, 1, *x.shape[2:])), jax.random.normal(own, (1, *x.shape[1:]))
        )
        x = diffusion.ddim_step(x, eps, noise, now, then, 1.0)
        a, b = replica.restore(x[:, 0], x[:, 1], jnp.minimum(pull * (1 - now / then), 0.5))
        return jnp.stack([a, b], 1), None

    return jax.lax.scan(step, start, jnp.arange(STEPS))[0]


def holds(found: list[Commitment]) -> dict[str, bool]:
    """The criteria, by name."""
    coarse, fine = found
    gap, wanted = fine.measured - coarse.measured, fine.predicted - coarse.predicted
    return {
        "coarse within 4 steps": abs(coarse.measured - coarse.predicted) < 4,
        "fine within 4 steps": abs(fine.measured - fine.predicted) < 4,
        "gap within 3 steps": abs(gap - wanted) < 3,
    }


def table(found: list[Commitment], ladder: list[Commitment]) -> pd.DataFrame:
    """Every number of the figure."""
    rows = []
    for run, means, modes in (("pair", PAIR, found), ("ladder", LADDER, ladder)):
        for m, mode in zip(means, modes, strict=True):
            shared = {"run": run, "m": m, **mode._asdict()}
            rows += [shared | {"step": s, "agreement": a} for s, a in zip(FORKS, mode.agreement, strict=True)]
    return pd.DataFrame(rows)


def tell(found: list[Commitment], ladder: list[Commitment]) -> str:
    """The table and the criteria."""
    lines = ["the step at which a pair commits, of 100, at +-m of variance 0.04"]
    for title, means, modes in (("two modes", PAIR, found), ("a ladder of modes", LADDER, ladder)):
        lines.append(f"\n{title}\n{'m':>5}{'predicted step':>16}{'measured [95 %]':>24}{'difference':>12}")
        for m, mode in zip(means, modes, strict=True):
            shown = f"{mode.measured:.1f} [{mode.low:.1f}, {mode.high:.1f}]"
            lines.append(f"{m:5g}{mode.predicted:16.1f}{shown:>24}{mode.measured - mode.predicted:12.1f}")
    coarse, fine = found
    lines.append(
        "\nof the two modes\n"
        f"gap: {fine.predicted - coarse.predicted:.1f} predicted, {fine.measured - coarse.measured:.1f} measured"
    )
    lines += [f"{name}: {'holds' if held else 'FAILS'}" for name, held in holds(found).items()]
    shares = ", ".join(f"{mode.agreement[0]:.3f} (m = {m:g})" for m, mode in zip(PAIR, found, strict=True))
    lines.append(f"share of pairs on the same side, nothing shared but the start: {shares}")
    return "\n".join(lines)


def tell_pulled(agreement: np.ndarray) -> str:
    """Agreement under the restoring force, by g."""
    lines = ["restoring force, independent starts and noise: share of pairs that end on the same side"]
    lines.append(f"{'g':>6}{'m = ' + format(PAIR[0], 'g'):>10}{'m = ' + format(PAIR[1], 'g'):>10}")
    lines += [f"{g:6g}{a:10.3f}{b:10.3f}" for g, (a, b) in zip(PULLS, agreement, strict=True)]
    return "\n".join(lines)


def drawn(found: list[Commitment], ladder: list[Commitment]) -> Figure:
    """Agreement by the step of the fork with predictions, and measured against predicted."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    for m, mode, colour in zip(PAIR, found, ("C0", "C1"), strict=True):
        left.plot(FORKS, mode.agreement, "o", ms=4, color=colour, label=f"m = {m:g}")
        left.axvline(mode.predicted, color=colour, ls="--", lw=1)
        fit = analysis.fit_sigmoid(FORKS, mode.agreement)
        t = np.linspace(0, STEPS, 400)
        left.plot(t, fit.lo + (fit.hi - fit.lo) / (1 + np.exp(-(t - fit.midpoint) / fit.width)), color=colour, lw=1)
    left.set(xlabel="steps with shared noise", ylabel="pairs that end on the same side (fraction)")
    left.legend(frameon=False, title="dashed: predicted")
    x = [mode.predicted for mode in ladder]
    y, low, high = (np.array([getattr(mode, name) for mode in ladder]) for name in ("measured", "low", "high"))
    right.errorbar(x, y, np.abs([y - low, high - y]), fmt="o", ms=4, capsize=2)
    right.axline((50, 50), slope=1, color="black", lw=0.8)
    for m, at in zip(LADDER, zip(x, y, strict=True), strict=True):
        right.annotate(f"m = {m:g}", at, textcoords="offset points", xytext=(5, -9), fontsize=8)
    right.set(xlabel="predicted step", ylabel="measured step, 95 % bootstrap interval")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    with command.line("exact_toy"):
        parser = command.parser("exact_toy", __doc__)
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/exact_toy"))
        parser.add_argument("--pairs", type=int, default=4000)
        parser.add_argument("--seed", type=int, default=0)
        arguments = parser.parse_args()
        if arguments.pairs < GROUPS or arguments.pairs % GROUPS:
            raise InputError(f"--pairs {arguments.pairs}: give a multiple of {GROUPS}, the groups they are told in")
        sys.exit(main(arguments.out, arguments.pairs, arguments.seed))
