"""Analytic work: floating-point operations and bytes moved, and what devices are sold to do.

Operations are those of matrix products, 2 a multiply-add; what is elementwise is counted in bytes. A training step is
3 forwards, recomputation not counted (the definition of MFU in PaLM, arXiv 2204.02311, appendix B).
"""

from typing import Any, NamedTuple


class Work(NamedTuple):
    """Operations and bytes to and from memory that a computation cannot do without."""

    flops: float
    bytes: float


class Rates(NamedTuple):
    """Operations and bytes a second."""

    flops: float
    bytes: float


class Datasheet(NamedTuple):
    """Dense peaks of one chip: TFLOP/s in bfloat16 and in float32 (on tensor cores: TF32), TB/s of its memory."""

    bfloat16: float
    float32: float | None
    bandwidth: float
    source: str


_TPU = "https://docs.cloud.google.com/tpu/docs"
DATASHEETS = {
    "NVIDIA H100 80GB HBM3": Datasheet(989.4, 494.7, 3.35, "NVIDIA H100 Tensor Core GPU datasheet, SXM"),
    "NVIDIA H200": Datasheet(989.4, 494.7, 4.8, "NVIDIA H200 Tensor Core GPU datasheet, SXM"),
    "NVIDIA A100-SXM4-80GB": Datasheet(312.0, 156.0, 2.039, "NVIDIA A100 Tensor Core GPU datasheet, 80GB SXM"),
    "NVIDIA A100-SXM4-40GB": Datasheet(312.0, 156.0, 1.555, "NVIDIA A100 Tensor Core GPU datasheet, 40GB SXM"),
    "TPU v4": Datasheet(275.0, None, 1.2, f"{_TPU}/v4"),
    "TPU v5 lite": Datasheet(197.0, None, 0.819, f"{_TPU}/v5e"),
}
"""By ``device_kind`` as JAX names it. A device that is not listed has no peak: nothing is guessed."""


def matmul(m: int, k: int, n: int, itemsize: int = 4) -> Work:
    """[m,k] times [k,n], each matrix moved once."""
    return Work(2 * m * k * n, itemsize * (m * k + k * n + m * n))


def model_flops_share(flops: float, seconds: float, device_kind: str, dtype: str = "bfloat16") -> float | None:
    """MFU: operations a second over the datasheet's peak in ``dtype``; None for a device or dtype without one."""
    sheet = DATASHEETS.get(device_kind)
    peak = getattr(sheet, dtype, None) if sheet else None
    return flops / seconds / (peak * 1e12) if peak else None


def two_head_forward(config: Any, boards: int) -> float:
    """Operations of one forward pass of ``models.two_head`` (its TwoHeadConfig) on so many boards.

    A layer has 2 (4 D^2 + 2 D F) a token, and 4 S D for each attention: one, or two a tower where towers are coupled.
    """
    D, S = config.d_model, config.cells
    attentions = 1 if config.towers == 1 else 2
    layer = 2 * (4 * D**2 + 2 * D * config.d_ff) + attentions * 4 * S * D
    heads = 2 * D * (config.digits + 1)
    again = 2 * D * config.digits * (config.iterations > 1)
    passes = (1 + config.gated) * config.iterations
    time = 4 * D**2 * config.towers * boards * config.time
    return boards * S * passes * (config.towers * config.layers * layer + heads + again) + time


def two_head_training(config: Any, boards: int) -> float:
    """Operations of one training step: forward, and twice that for the backward."""
    return 3 * two_head_forward(config, boards)
