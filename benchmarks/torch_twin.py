"""The posts' two-head model and its training step in PyTorch: `nn.TransformerEncoder`, dropout, Adam, uniform noise."""

import importlib
import pathlib
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from gidd_jax.models import two_head
from gidd_jax.weights import posts


def find() -> Any:
    """The module torch, or None where it is not installed."""
    try:
        return importlib.import_module("torch")
    except ImportError:
        return None


def build(torch: Any, config: two_head.TwoHeadConfig) -> Any:
    """The model, on the accelerator where torch has one; its names are those of the posts' state dicts."""
    nn = torch.nn

    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            width = config.d_model
            self.embedding = nn.Embedding(config.digits + 1, width)
            self.pos_embedding = nn.Embedding(config.cells, width)
            layer = nn.TransformerEncoderLayer(
                width, config.heads, config.d_ff, config.dropout, "relu", batch_first=True, norm_first=False
            )
            self.transformer = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
            self.jump_chain = nn.Linear(width, config.digits)
            self.holding = nn.Linear(width, 1)

        def forward(self, z: Any) -> tuple[Any, Any]:
            h = self.transformer(self.embedding(z) + self.pos_embedding.weight)
            return self.jump_chain(h), self.holding(h)[..., 0]

    return TwoHeads().to(_device(torch))


def training(torch: Any, model: Any, config: two_head.TwoHeadConfig, answer: np.ndarray) -> Callable[[], Any]:
    """A call that noises the boards ``answer`` [B,S] anew and makes one step of Adam on both cross-entropies."""
    functional, device = torch.nn.functional, _device(torch)
    x = torch.tensor(answer.astype(np.int64), device=device)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()

    def call() -> Any:
        t = torch.rand(len(x), 1, device=device)
        resampled = torch.rand(x.shape, device=device) < t
        z = torch.where(resampled, torch.randint(1, config.digits + 1, x.shape, device=device), x)
        optimiser.zero_grad(set_to_none=True)
        jump, holding = model(z)
        each = functional.cross_entropy(jump.flatten(0, 1), x.flatten() - 1, reduction="none")
        jump_loss = (each * resampled.flatten()).sum() / resampled.sum().clamp(min=1)
        loss = jump_loss + functional.binary_cross_entropy_with_logits(holding, resampled.float())
        loss.backward()
        optimiser.step()
        return loss.item()

    return call


def difference(torch: Any, model: Any, config: two_head.TwoHeadConfig, answer: np.ndarray) -> float:
    """How far the logits of this package, given the torch model's weights, are from its own: both must be one model."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "state.pt"
        torch.save(model.state_dict(), path)
        ours = posts.from_posts(path, config.heads)
    z = answer.astype(np.int32)
    heads = two_head.apply(ours.params, ours.config, z, z > 0, np.ones(len(z), np.float32), two_head.Couplings())
    model.eval()
    with torch.no_grad():
        jump, holding = model(torch.tensor(z.astype(np.int64), device=_device(torch)))
    apart = [
        np.abs(np.asarray(a[0]) - b.cpu().numpy()).max() for a, b in ((heads.jump, jump), (heads.holding, holding))
    ]
    return float(max(apart))


def _device(torch: Any) -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
