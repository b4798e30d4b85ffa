"""``gidd-jax sample DIR`` of a phase sweep: one row goes on with a text, or fills its gaps, as R guides it."""

import argparse
import dataclasses
import pathlib
from typing import Any

import numpy as np

from gidd_jax.commands import flags
from gidd_jax.errors import InputError

GAP = "[MASK]"
"""Stands in a prompt for one token that is to be filled in."""


def run(parser: argparse.ArgumentParser, arguments: list[str]) -> int:
    """Prints each sample with R and the cells revealed by step; a known source tells how likely it is."""
    parser.add_argument("directory", type=pathlib.Path, metavar="DIR", help="a phase sweep, or an exported row of one")
    parser.add_argument(
        "--row", metavar="ID", help="of a sweep: first digits of its identity (gidd-jax export DIR lists)"
    )
    parser.add_argument(
        "--prompt", default="", metavar="TEXT", help=f"start of every sample; with {GAP} in it these gaps are filled"
    )
    parser.add_argument(
        "--length", type=int, metavar="N", help="tokens in all [as in training, or no more than a prompt with gaps]"
    )
    parser.add_argument("--count", type=int, default=4, metavar="N", help="samples [4]")
    parser.add_argument(
        "--sampler", default="guided", metavar="NAME", help="guided, low-confidence, random-order, ... [guided]"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="model calls [as in the sweep's evaluation]")
    parser.add_argument("--temperature", type=float, metavar="X", help="divides the logits [the row's]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draws [0]")
    args = parser.parse_args(arguments)
    if any(value is not None and value < 1 for value in (args.count, args.steps, args.length)):
        raise InputError("--count, --steps and --length start at 1")
    if args.temperature is not None and not args.temperature > 0:
        raise InputError(f"--temperature {args.temperature:g}: must be above 0")
    flags.prepare_jax()
    import jax
    import jax.numpy as jnp

    from gidd_jax import export, known, sampling
    from gidd_jax.studies import phase, phase_arms, text_data
    from gidd_jax.studies.phase_model import noise, see

    sampler = args.sampler.replace("-", "_")
    if sampler not in phase_arms.SAMPLERS:
        names = ", ".join(name.replace("_", "-") for name in phase_arms.SAMPLERS)
        raise InputError(f"--sampler {args.sampler}: not one of {names}")
    if "groups" not in export.described(args.directory):
        entry, config, hyper, params = export.load_model(phase, args.directory)
    elif args.row:
        entry, config, hyper, params = export.load_row(phase, args.directory, args.row)
    else:
        raise InputError("--row ID: which row of the sweep? gidd-jax export DIR lists them")
    config = dataclasses.replace(config, init_from="")
    hyper = hyper if args.temperature is None else hyper._replace(temperature=args.temperature)
    data, _ = phase.load(config)
    tokenizer = None if "source" in data else text_data.corpus(config).tokenizer
    mask = noise(data).mask_id
    given = _given(args.prompt, tokenizer, args.length, config.length, mask)
    how = phase_arms.arm(hyper, phase_arms.SAMPLERS[sampler])

    @jax.jit
    def write(key, params, hyper, how):
        def guess(z, share):
            seen = see(params, hyper, config, data, z)
            return seen.logits, seen.r

        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(args.count))
        z = jnp.tile(jnp.asarray(given)[None], (args.count, 1))
        return sampling.guided(keys, guess, z, args.steps or config.sample_steps, mask, how)

    found = jax.device_get(write(jax.random.key(args.seed), params, hyper, how))
    for i, tokens in enumerate(found.tokens):
        told = ""
        if tokenizer is None:
            nats = -known.log_likelihood(data["source"], tokens[None], mask)[0] / len(tokens)
            told = f" ({nats:.3f} nats a token under the source, {data['entropy']:.3f} its entropy)"
        written = tokenizer.decode(tokens) if tokenizer else " ".join(map(str, tokens))
        print(f"row {entry['row']}, {args.sampler} {i + 1}{told}:\n{written}")
        print(f"R by step: {' '.join(f'{r:.2f}' for r in found.r[:, i])}")
        print(f"cells revealed: {' '.join(map(str, found.counts[:, i]))}\n")
    return 0


def _given(prompt: str, tokenizer: Any, length: int | None, most: int, mask: int) -> np.ndarray:
    """The prompt's tokens, its gaps and all that is to follow as masks, [S]."""
    if prompt and tokenizer is None:
        raise InputError("--prompt: the tokens of a source are no text; leave it out")
    parts = [tokenizer.encode(part) for part in prompt.split(GAP)] if prompt else [np.zeros(0)]
    read = np.concatenate([np.concatenate([[mask], part]) for part in parts])[1:].astype(np.int32)
    length = length or (len(read) if len(parts) > 1 else most)
    if length > most:
        raise InputError(f"{length} tokens: the model has {most}; give a shorter --prompt, or a smaller --length")
    ids = np.full(max(length, len(read)), mask, np.int32)
    ids[: len(read)] = read
    if len(ids) > length or not (ids == mask).any():
        raise InputError(f"--prompt: its {len(read)} tokens leave none of the {length} to write; give a shorter one")
    return ids
