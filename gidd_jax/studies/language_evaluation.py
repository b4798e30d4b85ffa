"""What a replica is worth on held-out text: its ELBO by t, what it samples, and what self-correction makes of that."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from gidd_jax import corruption, known, likelihood, losses, sampling, schedules, train
from gidd_jax.studies.language_model import logits, noise, time_seen
from gidd_jax.studies.language_settings import Config, Hyper
from gidd_jax.studies.text_data import stretch
from gidd_jax.studies.text_settings import KNOWN
from gidd_jax.types import Mean, Metrics, PRNGKey, Tokens, Tree

CORRECTED_AT = 0.01
"""The time shown to the model in self-correction, 0 clean; arXiv 2503.04482."""


def evaluate(
    state: train.TrainState, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, split: jax.Array
) -> tuple[Metrics, Tree]:
    """Bound on the nats a token of held-out sequences, by t and with its error; bits a character; what is sampled.

    elbo: with the prior and reconstruction terms, so a bound on the entropy; elbo/t: nats a token and unit of t. Of a
    known source: its entropy, and the bound that the best model has on the same noised sequences (oracle_elbo), and
    excess, the difference. sample_nll, corrected_nll: nats a token of samples under the source (their mean is the
    entropy if the samples are right); sample_entropy, corrected_entropy: of the tokens of each sample, for text too,
    since self-correction can buy quality with it. Arrays: the samples. Consumes ``key``.
    """
    params, schedule = train.evaluated(state, config), noise(hyper, config, data)
    text_key, elbo_key, sample_key = jax.random.split(key, 3)
    x, valid = stretch(text_key, config, data, 1, config.eval_sequences)

    def denoise(z: Tokens, t: jax.Array) -> jax.Array:
        return logits(params, config, data, z, time_seen(schedule, t))

    own = likelihood.elbo(elbo_key, schedule, denoise, x, valid, config.strata)
    found = _told("elbo", own) | {"elbo_error": likelihood.ratio(own.total(), own.tokens).error}
    if config.data in KNOWN:

        def best(z: Tokens, t: jax.Array) -> jax.Array:
            return jnp.log(known.cavity(data["source"], schedule, z, t))

        # The same times and noise, so that the difference is the models' alone.
        oracle = likelihood.elbo(jax.random.clone(elbo_key), schedule, best, x, valid, config.strata)
        found |= _told("oracle_elbo", oracle) | {"entropy": data["entropy"]}
        found["excess"] = Mean((own.total() - oracle.total()).sum(), own.tokens.sum())
    else:
        bits = found["elbo"].total / (jnp.log(2.0) * data["characters"][1])
        found["bits_per_character"] = Mean(bits, found["elbo"].weight)
        found["bits_per_character_error"] = found["elbo_error"] / (jnp.log(2.0) * data["characters"][1])
    if not config.samples:
        return found, {}
    drawn = sample(sample_key, schedule, denoise, config)
    for name, tokens in drawn.items():
        entropy = sampling.sample_entropy(tokens, schedule.vocab_size)
        found[f"{name}_entropy"] = Mean(entropy.sum(), jnp.float32(len(tokens)))
        if config.data in KNOWN:
            held = tokens != schedule.mask_id
            nll = -known.log_likelihood(data["source"], tokens, schedule.mask_id)
            found[f"{name}_nll"] = Mean(nll.sum(), held.sum())
    if "corrected" in drawn:
        changed = drawn["sample"] != drawn["corrected"]
        found["corrected_share"] = Mean(changed.sum(), jnp.float32(changed.size))
    return found, drawn


def sample(
    key: PRNGKey,
    schedule: schedules.Schedule,
    denoise: sampling.Denoise,
    config: Config,
    prompt: Int[Array, "B P"] | None = None,
) -> dict[str, Tokens]:
    """Sequences drawn from the noisiest time down ("sample"), and these after self-correction ("corrected"), [B,S].

    ``prompt`` [B,P] stands at the start of each and never changes; without one there are ``config.samples``.
    """
    prior_key, path_key, correct_key = jax.random.split(key, 3)
    times = sampling.time_grid(schedule, config.sample_steps)
    prompt = jnp.zeros((config.samples, 0), jnp.int32) if prompt is None else prompt
    noisy = corruption.prior(prior_key, schedule, (len(prompt), config.length), times[0])
    start = jnp.concatenate([prompt, noisy[:, prompt.shape[1] :]], axis=1)
    protected = jnp.broadcast_to(jnp.arange(config.length)[None] < prompt.shape[1], start.shape)
    drawn = sampling.ancestral(path_key, schedule, denoise, start, times, protected)
    if not config.correct_steps:
        return {"sample": drawn}
    corrected, _ = sampling.self_correct(
        correct_key,
        schedule,
        denoise,
        drawn,
        config.correct_steps,
        temperature=config.correct_temperature,
        t=schedule.time_of(CORRECTED_AT),
        protected=protected,
    )
    return {"sample": drawn, "corrected": corrected}


def _told(name: str, found: likelihood.SequenceNats) -> Metrics:
    """The bound a token, and its rate in each bin of t."""
    tokens, bins = found.tokens.sum(), losses.T_BINS
    return {
        name: Mean(found.total().sum(), tokens),
        f"{name}/t": Mean(bins * found.path.sum(1), jnp.full(bins, tokens)),
    }
