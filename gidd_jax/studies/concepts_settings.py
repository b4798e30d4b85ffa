"""What a sweep of the concept study may set: the traced Hypers of a row and the static Config of a group."""

import dataclasses
from typing import Annotated, NamedTuple

from gidd_jax import files
from gidd_jax.config import Dial, at_least_one, setting
from gidd_jax.errors import InputError
from gidd_jax.optim import LearningRate, SecondMoment, WeightDecay
from gidd_jax.studies.text_settings import SourceConfig

ALL = 1_000_000
"""More layers or concepts than any model has: all of them."""


class Hyper(NamedTuple):
    """What one row may set; every field is traced, so sweeping it never recompiles.

    The defaults are self-reconstruction by masked diffusion, as in the source before its four fixes.
    """

    seed: Annotated[int, Dial("", 0, 2**31 - 1, "parameters, text, t and noise; paired settings share it")] = 0
    depth: Annotated[float, Dial("layers", 0, ALL, "encoder layers in use, fractions too")] = ALL
    n_concepts: Annotated[float, Dial("", 1, ALL, "concepts in use")] = ALL
    bixt: Annotated[float, Dial("", 0, 1, "tokens are updated by concepts in every encoder layer")] = 0.0
    channel: Annotated[float, Dial("", 0, 1, "0: the decoder never sees the concepts")] = 1.0
    decoder_tokens: Annotated[float, Dial("", 0, 1, "0: the decoder is asked by position alone")] = 1.0
    self_attention: Annotated[float, Dial("", 0, 1, "weight of the decoder's attention among tokens")] = 0.0
    causal: Annotated[float, Dial("", 0, 1, "1: autoregressive decoder; 0: diffusion")] = 0.0
    gate: Annotated[float, Dial("", 0, 10, "start of the decoder's gates; 0: AdaLN-Zero")] = 0.0
    time_scale: Annotated[float, Dial("", 0, 1e4, "t is multiplied by this before its sinusoids")] = 1.0
    init_std: Annotated[float, Dial("", 1e-4, 1, "standard deviation of kernels and embeddings at the start")] = 0.02
    delete: Annotated[float, Dial("", 0, 0.999, "share of tokens the encoder does not see (TSDAE: .6)")] = 0.0
    encoder_noise: Annotated[float, Dial("", 0, 1, "share of the decoder's masks the encoder sees too (MLM: 1)")] = 0.0
    prefix: Annotated[float, Dial("", 0, 1, "1: encode the start of a text, decode the rest")] = 0.0
    split_lo: Annotated[float, Dial("", 0, 1, "least share of a text that is its prefix")] = 0.3
    split_hi: Annotated[float, Dial("", 0, 1, "largest share of a text that is its prefix")] = 0.5
    other_view: Annotated[float, Dial("", 0, 1, "1: encode a text, decode its other version")] = 0.0
    t_min: Annotated[float, Dial("", 0, 1, "least share of masks in training")] = 0.0
    t_max: Annotated[float, Dial("", 1e-3, 1, "largest share of masks in training (MLM: t_min = t_max = .15)")] = 1.0
    elbo: Annotated[float, Dial("", 0, 2, "a mask counts t^-elbo: 0 cross-entropy, 1 ELBO")] = 0.0
    per_cell: Annotated[float, Dial("", 0, 1, "divide by: 0 the sum of these weights, 1 the cells (LLaDA)")] = 0.0
    visible_weight: Annotated[float, Dial("", 0, 100, "weight of target cells that are not masked")] = 0.0
    smoothing: Annotated[float, Dial("", 0, 0.9, "label smoothing")] = 0.0
    w_nearest: Annotated[float, Dial("", 0, 1e3, "weight: distance to the nearest concept (source's t_regs_mst)")] = 0.0
    w_tree: Annotated[float, Dial("", 0, 1e3, "weight: length of the minimum spanning tree (T-REGS)")] = 0.0
    w_koleo: Annotated[float, Dial("", 0, 1e3, "weight: log distance to the nearest concept (KoLeo)")] = 0.0
    w_variance: Annotated[float, Dial("", 0, 1e3, "weight: variance part of VICReg")] = 0.0
    w_covariance: Annotated[float, Dial("", 0, 1e3, "weight: covariance part of VICReg")] = 0.0
    w_uniformity: Annotated[float, Dial("", 0, 1e3, "weight: uniformity on the sphere")] = 0.0
    w_orthogonality: Annotated[float, Dial("", 0, 1e3, "weight: squared cosines")] = 0.0
    w_layers: Annotated[float, Dial("", 0, 1e3, "weight: variance and covariance of every layer (Seq-VCR)")] = 0.0
    reg_start: Annotated[float, Dial("steps", 0, 2**31, "step at which the regularisers begin")] = 0.0
    reg_warmup: Annotated[float, Dial("steps", 0, 2**31, "steps in which they reach their weight")] = 0.0
    kendall_gal: Annotated[float, Dial("", 0, 1, "1: learned weights for the task and each regulariser in use")] = 0.0
    learning_rate: LearningRate = 3e-4
    weight_decay: WeightDecay = 0.01
    b2: SecondMoment = 0.999


@dataclasses.dataclass(frozen=True)
class ModelConfig(SourceConfig):
    """What the text is and the model's shape: all that its parameters hang on."""

    data: str = setting(
        "wiki-leads",
        "text, CSV, JSONL, parquet file or folder, Hugging Face name, kjv, kjv-web, wiki-leads",
        execution=True,
    )
    other_column: str = setting("", "column of a table that holds another version of the text")
    label_column: str = setting("", "column of a table that holds a label, for the linear probe")
    windows: bool = setting(False, "cut long documents into windows (else their start is taken)")
    concepts: int = setting(32, "concepts C")
    encoder_layers: int = setting(2, "encoder layers L")
    decoder_layers: int = setting(2, "decoder layers D")
    hidden: int = setting(128, "width of the gated feed-forward layers")
    token_dim: int = setting(0, "width of the encoder's token and position tables (0: H)")
    dropout: float = setting(0.0, "dropout of embedded tokens, attention weights and hidden units (the source: .1)")
    slot_positions: str = setting(
        "none", "positions added to the concepts before the first layer", choices=("none", "learned", "sinusoidal")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "concepts", "encoder_layers", "decoder_layers", "hidden")


@dataclasses.dataclass(frozen=True)
class Config(ModelConfig):
    """The text, the model, and what is measured."""

    similarity: str = setting("lee", "texts with human scores: lee, stsb, a table; none", execution=True)
    eval_sequences: int = setting(128, "held-out sequences of an evaluation")
    strata: int = setting(4, "draws of masks for each of them")
    dial: str = setting("", "what --coupling moves (default: w_nearest)")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(self, "strata")
        if self.eval_sequences < 2:
            raise InputError("--eval-sequences 1: concepts are exchanged between sequences, so give 2 or more")
        if not self.dial:
            object.__setattr__(self, "dial", "w_nearest")
        if self.dial not in Hyper._fields or self.dial == "seed":
            raise InputError(f"--dial {self.dial}: not one of {', '.join(Hyper._fields[1:])}")
        if self.similarity not in ("lee", "stsb", "none"):
            object.__setattr__(self, "similarity", files.absolute(self.similarity))
