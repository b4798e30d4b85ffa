"""What a replica is worth: its bound, whether R tells when it is right, what every arm of the causal test samples."""

import jax
import jax.numpy as jnp

from gidd_jax import corruption, known, likelihood, losses, sampling, train
from gidd_jax.models import phase_core
from gidd_jax.studies import phase_arms
from gidd_jax.studies.phase_model import core, noise, see
from gidd_jax.studies.phase_settings import Config, Hyper
from gidd_jax.studies.text_data import stretch
from gidd_jax.studies.text_settings import KNOWN
from gidd_jax.types import Mean, Metrics, PRNGKey, Times, Tokens, Tree


def evaluate(
    state: train.TrainState, key: PRNGKey, hyper: Hyper, config: Config, data: Tree, split: jax.Array
) -> tuple[Metrics, Tree]:
    """The masked ELBO beside the best model's; calibration of R; samples of every arm, from the same keys.

    elbo, oracle_elbo, entropy, excess, bits_per_character: as in the language study. ece, confidence/r, right/r: R
    against the share right. r/t, right/t; r_spread: variance of a sequence's R, and r_spread_left what is left of it
    within tenths of the share masked. modulation_shift: nats a masked token (KL) between the guesses with R set to .3
    and to .7 in the modulation: 0 without one. ``arm_X@A`` for the arms A of ``phase_arms.NAMES``, X of: nll (known
    sources), sample_entropy, guess_entropy (of the model at masks) and masked (share), both mean over steps, r. Arrays:
    the same by key [A,N], tokens [A,N,S], r_path and entropy_path [A,T,N]. Consumes ``key``.
    """
    params = train.evaluated(state, config)
    text_key, elbo_key, core_key, fresh_key, sample_key = jax.random.split(key, 5)
    x, valid = stretch(text_key, config, data, 1, config.eval_sequences)
    found = _bound(elbo_key, params, hyper, config, data, x, valid)
    found |= _calibration(core_key, params, hyper, config, data, x, valid)
    found["critical_coupling"] = phase_core.gaussian_critical_coupling(params["core"])
    if not config.samples:
        return found, {}
    told, arrays = sampled(sample_key, fresh_key, params, hyper, config, data)
    return found | told, arrays


def _bound(
    key: PRNGKey, params: Tree, hyper: Hyper, config: Config, data: Tree, x: Tokens, valid: jax.Array
) -> Metrics:
    schedule = noise(data)

    def denoise(z: Tokens, t: Times) -> jax.Array:
        return see(params, hyper, config, data, z).logits

    own = likelihood.elbo(key, schedule, denoise, x, valid, config.strata)
    tokens = own.tokens.sum()
    found = {"elbo": Mean(own.total().sum(), tokens), "elbo_error": likelihood.ratio(own.total(), own.tokens).error}
    found["elbo/t"] = Mean(losses.T_BINS * own.path.sum(1), jnp.full(losses.T_BINS, tokens))
    if config.data not in KNOWN:
        return found | {"bits_per_character": Mean(own.total().sum() / jnp.log(2.0), tokens * data["characters"][1])}

    def best(z: Tokens, t: Times) -> jax.Array:
        return jnp.log(known.cavity(data["source"], schedule, z, t))

    # The same times and noise, so that the difference is the models' alone.
    oracle = likelihood.elbo(jax.random.clone(key), schedule, best, x, valid, config.strata)
    found |= {"oracle_elbo": Mean(oracle.total().sum(), tokens), "entropy": data["entropy"]}
    return found | {"excess": Mean((own.total() - oracle.total()).sum(), tokens)}


def _calibration(
    key: PRNGKey, params: Tree, hyper: Hyper, config: Config, data: Tree, x: Tokens, valid: jax.Array
) -> Metrics:
    schedule, (time_key, noise_key) = noise(data), jax.random.split(key)
    t = corruption.sample_times(time_key, schedule, (len(x),))
    z, _ = corruption.corrupt(noise_key, schedule, x, t, ~valid)
    masked = (z == schedule.mask_id) & valid
    seen = see(params, hyper, config, data, z)
    right = guess(seen.logits, schedule.mask_id) == x
    low, high = (see(params, hyper, config, data, z, r).logits for r in (0.3, 0.7))
    moved = _divergence(low, high, schedule.mask_id)
    r, share = phase_core.sequence_r(seen.r, masked), masked.mean(1)
    spread, left = _spread(r, share, masked.any(1))
    return phase_core.calibration(seen.r, right, masked) | {
        "core_loss": Mean(phase_core.calibration_loss(seen.r, right, masked) * masked.sum(), masked.sum()),
        "right/t": losses.by_time(right, masked, t),
        "r/t": losses.by_time(seen.r, masked, t),
        "r_spread": spread,
        "r_spread_left": left,
        "modulation_shift": Mean(jnp.where(masked, moved, 0.0).sum(), masked.sum()),
    }


def guess(logits: jax.Array, mask_id: int) -> Tokens:
    """The likeliest token of every cell, never the mask."""
    return jnp.argmax(_without(logits, mask_id), axis=-1)


def _without(logits: jax.Array, mask_id: int) -> jax.Array:
    return jnp.where(jnp.arange(logits.shape[-1])[None, None] == mask_id, -jnp.inf, logits)


def _divergence(logits: jax.Array, other: jax.Array, mask_id: int) -> jax.Array:
    """KL(p || q) of every cell, nats."""
    p, q = (jax.nn.log_softmax(_without(each, mask_id), axis=-1) for each in (logits, other))
    return jnp.where(jnp.isfinite(p), jnp.exp(p) * (p - jnp.where(jnp.isfinite(q), q, 0.0)), 0.0).sum(-1)


def _spread(r: jax.Array, share: jax.Array, counted: jax.Array) -> tuple[Mean, Mean]:
    """Variance of R over sequences, and what is left of it within tenths of the share masked."""
    weight = counted.astype(jnp.float32)
    tenth = jax.nn.one_hot(jnp.clip((share * 10).astype(jnp.int32), 0, 9), 10) * weight[:, None]
    within = (tenth * r[:, None]).sum(0) / jnp.maximum(tenth.sum(0), 1)
    mean = (weight * r).sum() / jnp.maximum(weight.sum(), 1)
    left = weight * (r - (tenth * within[None]).sum(1)) ** 2
    return Mean((weight * (r - mean) ** 2).sum(), weight.sum()), Mean(left.sum(), weight.sum())


def sampled(
    key: PRNGKey, fresh_key: PRNGKey, params: Tree, hyper: Hyper, config: Config, data: Tree
) -> tuple[Metrics, Tree]:
    """Every arm of ``phase_arms`` from ``config.samples`` keys -> means ``arm_X@A`` and, by key, the arrays of
    ``evaluate``; ``fresh_key`` makes the core that never learnt. Consumes both."""
    mask = noise(data).mask_id
    fresh = phase_core.init(fresh_key, core(config))

    def guess(source: jax.Array) -> sampling.Guess:
        def look(z: Tokens, share: jax.Array) -> tuple[jax.Array, jax.Array]:
            seen = see(params, hyper, config, data, z)
            untrained = phase_core.apply(fresh, core(config), seen.hidden, hyper.coupling, z == mask)
            judged = judge(config, data, z, seen.logits)
            cells = jnp.stack([seen.r, untrained, judged.max(-1)])[jnp.minimum(source, phase_arms.CERTAIN)]
            return seen.logits, jnp.where(source == phase_arms.ORACLE, judged, cells[..., None])

        return look

    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(config.samples))
    found = phase_arms.sample(keys, guess, hyper, config.sample_steps, config.length, mask)
    return _told(found, config, data)


def judge(config: Config, data: Tree, z: Tokens, logits: jax.Array) -> jax.Array:
    """The chance that each token is right, [B,S,V]: exact where the law is known, else the model's own belief."""
    if config.data not in KNOWN:
        return jax.nn.softmax(_without(logits, noise(data).mask_id), axis=-1)
    return jnp.pad(known.posterior(data["source"], z, noise(data).mask_id), ((0, 0), (0, 0), (0, 1)))


def _told(found: sampling.Guided, config: Config, data: Tree) -> tuple[Metrics, Tree]:
    """Means of every arm, and what a paired test needs."""
    arms, count = found.tokens.shape[:2]
    flat = found.tokens.reshape(arms * count, -1)
    mask = data["vocabulary"].shape[0] - 1
    by_key = {
        "sample_entropy": sampling.sample_entropy(flat, mask + 1).reshape(arms, count),
        "guess_entropy": found.entropy.mean(1),
        "masked": jax.vmap(lambda counts: phase_arms.left(counts, config.length).mean(0))(found.counts),
        "r": found.r.mean(1),
    }
    if config.data in KNOWN:
        nats = -known.log_likelihood(data["source"], flat, mask) / config.length
        by_key["nll"] = nats.reshape(arms, count)
    number = jnp.float32(count)
    means = {
        f"arm_{name}@{arm}": Mean(each[i].sum(), number)
        for name, each in by_key.items()
        for i, arm in enumerate(phase_arms.NAMES)
    }
    return means, by_key | {"tokens": found.tokens, "r_path": found.r, "entropy_path": found.entropy}
