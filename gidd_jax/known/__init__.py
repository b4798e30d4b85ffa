"""Sources of known law: Markov chains and hidden Markov models, their entropy, and the best denoisers there can be."""

from gidd_jax.known.chain import cavity, denoise, log_likelihood, log_marginal, posterior
from gidd_jax.known.information import Estimate, elbo_floor, entropy, entropy_rate
from gidd_jax.known.source import Source, hmm, markov, sample, stationary

__all__ = [
    "Estimate",
    "Source",
    "cavity",
    "denoise",
    "elbo_floor",
    "entropy",
    "entropy_rate",
    "hmm",
    "log_likelihood",
    "log_marginal",
    "markov",
    "posterior",
    "sample",
    "stationary",
]
