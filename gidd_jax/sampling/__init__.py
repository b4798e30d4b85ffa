"""Reverse processes as jitted scans. Draws come from typed keys, which the functions consume."""

from gidd_jax.sampling.blocks import in_blocks
from gidd_jax.sampling.correction import adaptive, adaptive_score, correction_score, revise, self_correct
from gidd_jax.sampling.draws import clean_probs, draw, drop_unlikely, ranks, sample_entropy, top_cells
from gidd_jax.sampling.gidd import Denoise, ancestral, reverse_probs, reverse_scan, time_grid
from gidd_jax.sampling.guided import ARMS, Arm, Guess, Guided, guided
from gidd_jax.sampling.heads import Predict, belief, oracle_holding, oracle_jump, posterior
from gidd_jax.sampling.k_pass import k_pass
from gidd_jax.sampling.masked import masked
from gidd_jax.sampling.reveal import ProposedCounts, proposal_counts, reveal_counts
from gidd_jax.sampling.revision import remask, resample, two_head_ancestral
from gidd_jax.sampling.walk import Walk

__all__ = [
    "ARMS",
    "Arm",
    "Denoise",
    "Guess",
    "Guided",
    "Predict",
    "ProposedCounts",
    "Walk",
    "adaptive",
    "adaptive_score",
    "ancestral",
    "belief",
    "clean_probs",
    "correction_score",
    "draw",
    "drop_unlikely",
    "guided",
    "in_blocks",
    "k_pass",
    "masked",
    "oracle_holding",
    "oracle_jump",
    "posterior",
    "proposal_counts",
    "ranks",
    "remask",
    "resample",
    "reveal_counts",
    "reverse_probs",
    "reverse_scan",
    "revise",
    "sample_entropy",
    "self_correct",
    "time_grid",
    "top_cells",
    "two_head_ancestral",
]
