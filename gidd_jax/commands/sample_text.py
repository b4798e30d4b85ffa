"""``gidd-jax sample DIR --row ID`` of a language sweep: one row writes text, before and after self-correction."""

import argparse
import dataclasses
import pathlib

import numpy as np

from gidd_jax.commands import flags
from gidd_jax.errors import InputError


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Prints each sample, and what self-correction makes of it; a known source tells how likely both are."""
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a sweep of the language study")
    parser.add_argument(
        "--row", required=True, metavar="ID", help="first digits of its identity (gidd-jax export DIR lists)"
    )
    parser.add_argument("--prompt", default="", metavar="TEXT", help="text that every sample starts with")
    parser.add_argument("--count", type=int, default=4, metavar="N", help="samples [4]")
    parser.add_argument("--steps", type=int, default=64, metavar="N", help="model calls of ancestral sampling [64]")
    parser.add_argument(
        "--correct", type=int, default=64, metavar="N", help="most steps of self-correction; 0: none [64]"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draws [0]")
    args = parser.parse_args(arguments)
    if args.count < 1 or args.steps < 1 or args.correct < 0:
        raise InputError("--count and --steps start at 1, --correct at 0")
    flags.prepare_jax()
    import jax
    import jax.numpy as jnp

    from gidd_jax import export, known
    from gidd_jax.studies import language, text_data
    from gidd_jax.studies.language_evaluation import sample
    from gidd_jax.studies.language_model import logits, noise, time_seen

    entry, config, hyper, params = export.load_row(language, args.directory, args.row)
    config = dataclasses.replace(
        config, init_from="", samples=args.count, sample_steps=args.steps, correct_steps=args.correct
    )
    data, _ = language.load(config)
    tokenizer = None if "source" in data else text_data.corpus(config).tokenizer
    schedule = noise(hyper, config, data)
    prompt = jnp.tile(_ids(args.prompt, tokenizer, config.length), (args.count, 1))

    @jax.jit
    def write(key, params, prompt):
        return sample(
            key, schedule, lambda z, t: logits(params, config, data, z, time_seen(schedule, t)), config, prompt
        )

    written = write(jax.random.key(args.seed), params, prompt)
    for i in range(args.count):
        for name in sorted(written, reverse=True):  # "sample" before "corrected"
            tokens, told = written[name], ""
            if tokenizer is None:
                nats = -known.log_likelihood(data["source"], tokens[i : i + 1], schedule.mask_id)[0] / config.length
                told = f" ({nats:.3f} nats a token under the source, {data['entropy']:.3f} its entropy)"
            print(f"row {entry['row']}, {name} {i + 1}{told}:\n{_text(np.asarray(tokens[i]), tokenizer)}\n")
    return 0


def _ids(prompt: str, tokenizer, length: int) -> np.ndarray:
    if not prompt:
        return np.zeros((1, 0), np.int32)
    if tokenizer is None:
        raise InputError("--prompt: the tokens of a source are no text; leave it out")
    ids = tokenizer.encode(prompt).astype(np.int32)
    if len(ids) >= length:
        raise InputError(f"--prompt: its {len(ids)} tokens leave none of the {length} to write; give a shorter one")
    return ids[None]


def _text(tokens: np.ndarray, tokenizer) -> str:
    return tokenizer.decode(tokens) if tokenizer else " ".join(map(str, tokens))
