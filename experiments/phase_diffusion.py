"""Does the order parameter R of a Kuramoto phase core guide unmasking by what it says, or only by being there?

    python -m experiments.phase_diffusion --preset tiny --out runs/phase
    python -m experiments.phase_diffusion --preset text --out runs/phase_text

A masked language model with a phase core whose R sets how many cells are revealed and in which order; K = 0 and 2 times
several seeds, and a row that multiplies hidden states by (1 + R) once, in one call. From every model all arms of
``phase_arms`` are sampled from the same keys; the unit is the key, paired between arms, keys of all seeds together and
the mean of each seed beside. tiny and small: a source of known law, which judges the samples. text: the King James
Bible by characters, K = 2 alone, judged by an n-gram model of the training text that knows nothing of the masked model
(``data.text.ngram``, six tokens), beside held-out text under the same judge.

Written down before any run of this version:
  wired        R set to .3 waits longer (more masks, mean over steps) and is more diverse (distinct bigrams a sample)
               than R set to .7, both one-sided; guaranteed for the first by construction, so it shows only the wiring
  information  nats a token of samples under the judge (less is better) and their token entropy, free against arms
               that keep R's distribution and take its content: yoked (pace), shuffled (order), neither (both). Matters
               where neither - free > 0, p < .05 after Holm over arms and outcomes; harms where it is < 0 so; nothing
               where equivalent within +-.05 nats; else open. Beside it the least difference found with probability .8
  alone        the same contrast, shuffled - R alone, where R alone makes the order
  certain      the same with the best model's certainty of its own best token: the most that an R of a cell can know
  positive     the same with the best model's chance that the token drawn is right (R = [it is right], in the mean over
               what it may be): has to be found, else a nothing above means nothing. Nobody knows the law of real text:
               there the model's own probability of the token drawn stands in, which is known to help
  negative     with span 0 and R out of the order the clamps give the same tokens, to the bit
  modulation   h (1 + R) once: the KL between guesses at R = .3 and R = .7, where the proposal's document asserts none
Runs of earlier versions had the positive control beside the model's confidence, where it was not found, and then the
certainty of a cell alone, which made samples worse; a control of tokens was written after them.
The denoiser has to be within .05 nats a token of the best possible one, else quality differences mean little: said.
(Pilots of tiny, one seed, held-out excess: 2 layers .084 at 1,500 steps and .072 at 4,500; 3 layers .027 at 1,500.)
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pandas as pd

from experiments import command
from experiments import phase_diffusion_figures as figures
from experiments import phase_diffusion_tests as tests
from gidd_jax import export, files, known, progress, sampling, sweep
from gidd_jax.analysis import format_summary
from gidd_jax.commands import flags
from gidd_jax.data.text import ngram
from gidd_jax.studies import phase, phase_evaluation, text_data

SOURCE = dict(data="markov", tokens=8, length=24, concentration=0.2)
PRESETS = {
    "tiny": dict(SOURCE, d_model=64, layers=3, cond=16, batch=64, steps=1500, samples=200, sample_steps=8),
    "small": dict(
        SOURCE | dict(tokens=16, length=64),
        d_model=128,
        layers=4,
        batch=128,
        steps=20_000,
        samples=400,
        sample_steps=16,
    ),
    "text": dict(
        data="kjv",
        tokenizer="characters",
        length=48,
        d_model=64,
        layers=3,
        cond=16,
        batch=32,
        steps=1500,
        samples=100,
        sample_steps=16,
        eval_sequences=256,
    ),
}
KINDS = {"tiny": ((0.0, 0.0), (2.0, 0.0), (2.0, 1.0)), "text": ((2.0, 0.0),)}
KINDS["small"] = KINDS["tiny"]
"""(K, alpha) of the rows, each for every seed."""

STEPS = (3, 6, 12, 24)
"""Model calls at which quality is measured again, from fewer keys."""
FEWER = 60
ORDER = 6
HELD_OUT = 1000
"""Tokens of the n-gram judge; sequences of real text, or of the source, that are judged beside the samples."""

Rows = dict[tuple[float, float, int], dict[str, np.ndarray]]
"""(K, alpha, seed) -> array by name, [A,N,...]."""

Judge = Callable[[np.ndarray], np.ndarray]
"""Tokens [N,S] -> nats a token of each, [N]."""


def main(out: pathlib.Path, preset: str, seeds: int, quiet: bool) -> int:
    """Trains, tells, draws -> exit status: 1 where a control fails."""
    flags.prepare_jax()
    config = phase.Config(**PRESETS[preset], schedule="cosine", warmup=100, eval_every=PRESETS[preset]["steps"])
    rows = [(K, alpha, seed) for K, alpha in KINDS[preset] for seed in range(seeds)]
    K, alpha, seed = map(list, zip(*rows, strict=True))
    hypers = sweep.rows(phase, seed=seed, coupling=K, modulation=alpha, learning_rate=[3e-3] * len(rows))
    result = sweep.run(phase, [(config, hypers)], out, progress.quiet if quiet else progress.bar)
    data, _ = phase.load(config)
    judge = judge_of(config, data)
    arrays = judged(by_row(out, result.table, config.steps), judge)
    by_steps = {n: judged(dict(sampled_again(out, config, data, n)), judge) for n in STEPS}
    real = held_out(config, data, judge)
    found, controls = tests.contrasts(arrays), tests.controls(result.table, arrays)
    told = [format_summary(result.table[result.table["modulation"] == 0], "coupling"), tests.levels(arrays, real)]
    told += [tests.tell(found, arrays), tests.told_controls(controls), tests.proposal()]
    text = "\n\n".join(told)
    files.write_text(out / "phase_diffusion.txt", text + "\n")
    found.to_csv(out / "phase_diffusion.csv", index=False, float_format="%.5g")
    oracle = "chance that the token is right" if "source" in data else "the model's own probability of the token"
    drawn = figures.drawn(arrays, by_steps, found, real, oracle)
    files.write(out / "phase_diffusion.png", lambda path: drawn.savefig(path, dpi=150, format="png"))
    print(text, f"figure and tables in {out}", sep="\n")
    return 0 if controls["negative"] and controls["positive"] else 1


def judge_of(config: phase.Config, data: Any) -> Judge:
    """The source itself, or an n-gram model of the text that was trained on."""
    if "source" in data:
        return lambda x: -np.asarray(known.log_likelihood(data["source"], x)) / x.shape[1]
    corpus = text_data.corpus(config)
    model = ngram.fit(corpus.train.tokens, corpus.tokenizer.vocab_size, ORDER)
    return lambda x: ngram.nats(model, x).mean(1)


def judged(rows: Rows, judge: Judge) -> Rows:
    """The rows with nll [A,N], as the judge has it."""

    def nll(tokens: np.ndarray) -> np.ndarray:
        return judge(tokens.reshape(-1, tokens.shape[-1])).reshape(tokens.shape[:2])

    return {row: arrays | {"nll": nll(arrays["tokens"])} for row, arrays in rows.items()}


def held_out(config: phase.Config, data: Any, judge: Judge) -> dict[str, np.ndarray]:
    """What the tests see of a sample, of sequences nobody trained on: nll, sample_entropy [N] and tokens [N,S]."""
    x = np.asarray(text_data.stretch(jax.random.key(0), config, jax.device_put(data), 1, HELD_OUT)[0])
    entropy = np.asarray(sampling.sample_entropy(x, len(data["vocabulary"])))
    return {"tokens": x, "nll": judge(x), "sample_entropy": entropy}


def by_row(directory: pathlib.Path, table: pd.DataFrame, step: int) -> Rows:
    """The arrays of the evaluation at ``step``, by row."""
    rows = table.drop_duplicates("row").set_index("row")
    found: Rows = {}
    for path in sorted((directory / "arrays").glob(f"*-{step:08d}-validation.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            for i, row in enumerate(arrays["rows"]):
                K, alpha, seed = rows.loc[row, ["coupling", "modulation", "seed"]]
                found[round(K, 6), round(alpha, 6), int(seed)] = {name: arrays[name][i] for name in arrays.files}
    return found


def sampled_again(directory: pathlib.Path, config: phase.Config, data: Any, steps: int) -> Iterator[tuple]:
    """Every unmodulated row and the arrays of its arms, sampled in ``steps`` model calls from other keys."""
    config = dataclasses.replace(config, samples=FEWER, sample_steps=steps)

    @functools.partial(jax.jit, static_argnums=0)
    def arms(config, hyper, params, data, key, fresh_key):
        return phase_evaluation.sampled(key, fresh_key, params, hyper, config, data)[1]

    for entry in export.rows(phase, directory):
        _, _, hyper, params = export.load_row(phase, directory, entry["row"])
        if hyper.modulation == 0:
            keys = jax.random.split(jax.random.key(hyper.seed))
            found = jax.device_get(arms(config, hyper, params, data, keys[0], keys[1]))
            yield (round(hyper.coupling, 6), 0.0, int(hyper.seed)), found


if __name__ == "__main__":
    with command.line("phase_diffusion"):
        parser = command.parser("phase_diffusion", __doc__)
        parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/phase_diffusion"))
        parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny")
        parser.add_argument("--seeds", type=command.count, default=2, help="how many [%(default)s]")
        parser.add_argument("--quiet", action="store_true")
        arguments = parser.parse_args()
        sys.exit(main(arguments.out, arguments.preset, arguments.seeds, arguments.quiet))
