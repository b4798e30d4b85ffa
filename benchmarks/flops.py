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


class Product(NamedTuple):
    """``count`` times [batch,m,k] by [batch,k,n]."""

    batch: int
    m: int
    k: int
    n: int
    count: int = 1

    @property
    def flops(self) -> float:
        return 2.0 * self.batch * self.m * self.k * self.n * self.count


def two_head_products(config: Any, boards: int) -> list[Product]:
    """The products of one forward pass of ``models.two_head`` (its TwoHeadConfig) on so many boards.

    Towers and heads of attention are batches of products; two towers attend twice, to themselves and to each other.
    Reading tables of embeddings is not counted.
    """
    T, D, S, F, V = config.towers, config.d_model, config.cells, config.d_ff, config.digits
    passes = (1 + config.gated) * config.iterations
    deep, cells = passes * config.layers, boards * S
    attentions, of_head = T * T * boards * config.heads, D // config.heads
    products = [
        Product(T, cells, D, 3 * D, deep),
        Product(attentions, S, of_head, S, deep),
        Product(attentions, S, S, of_head, deep),
        Product(T, cells, D, D, deep),
        Product(T, cells, D, F, deep),
        Product(T, cells, F, D, deep),
        Product(1, cells, D, V, passes),
        Product(1, cells, D, 1, passes),
    ]
    if config.iterations > 1:
        products.append(Product(1, cells, V, D, passes - 1 - config.gated))
    return products + ([Product(T, boards, D, D, 2)] if config.time else [])


def two_head_forward(config: Any, boards: int) -> float:
    """Operations of one forward pass."""
    return sum(product.flops for product in two_head_products(config, boards))


def two_head_training(config: Any, boards: int) -> float:
    """Operations of one training step: forward, and twice that for the backward."""
    return 3 * two_head_forward(config, boards)
