"""A byte-level transformer, its size for a parameter budget, and its parameters in a file."""

from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import SchemaError
from curate.storage.files import replacing

VOCABULARY = 256  # bytes; a token is a byte


def width_for(params: float, layers: int) -> int:
    """Return the model width (a multiple of 16) whose parameter count is nearest to ``params``."""
    widths = range(16, 1025, 16)
    return min(widths, key=lambda d: abs(count_params(d, layers) - params))


def count_params(width: int, layers: int) -> int:
    """Return the exact number of parameters: 12 d^2 a layer, embedding shared with the output, norms."""
    return layers * (12 * width * width + 2 * width) + VOCABULARY * width + width


class Transformer(nn.Module):
    """Causal transformer over bytes; (b, t) int64 to (b, t, 256) logits."""

    def __init__(self, width: int, layers: int, context: int) -> None:
        """Heads are 16 wide; the embedding is also the output matrix."""
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        nn.init.normal_(self.embed.weight, std=width**-0.5)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        angle = torch.arange(context)[:, None] * 1e3 ** (-torch.arange(8) / 8)
        self.register_buffer("turn", torch.stack([angle.cos(), angle.sin()]), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits."""
        x = self.embed(tokens) * self.embed.embedding_dim**0.5
        for block in self.blocks:
            x = block(x, self.get_buffer("turn")[:, : tokens.shape[1]])
        return functional.linear(self.norm(x), self.embed.weight)


class Block(nn.Module):
    """Attention and a four-fold MLP, each behind a root-mean-square norm."""

    def __init__(self, width: int) -> None:
        """No biases."""
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(width), nn.RMSNorm(width)])
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, turn: Tensor) -> Tensor:
        """Return (b, t, d)."""
        b, t, d = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(b, t, 3, d // 16, 16).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(rotate(q, turn), rotate(k, turn), v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, d))
        result: Tensor = x + self.down(functional.gelu(self.up(self.norms[1](x))))
        return result


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): (b, h, t, 16) with ``turn`` (2, t, 8) cosines and sines."""
    first, second = x[..., :8], x[..., 8:]
    return torch.cat([first * turn[0] - second * turn[1], first * turn[1] + second * turn[0]], dim=-1)


def save(model: Transformer, path: Path) -> None:
    """Write the parameters as a NumPy archive, atomically; the same model gives the same bytes."""
    arrays = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)


def load(model: Transformer, path: Path) -> None:
    """Set the parameters to those that ``save`` wrote for a model of the same size."""
    if not is_zipfile(path):
        raise SchemaError(f"{path} is no saved model: give a file that curate.models.tiny_transformer.save wrote")
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: torch.from_numpy(archive[name]) for name in archive.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise SchemaError(f"{path} cannot be read as a saved model ({error}): save it again") from None
    mine = model.state_dict()
    if {name: value.shape for name, value in mine.items()} != {name: value.shape for name, value in found.items()}:
        had, asked = (sum(value.numel() for value in state.values()) for state in (found, mine))
        raise SchemaError(
            f"{path} holds {had:,} parameters and the budget asks for a model of {asked:,}: "
            "give the size, layers and context of the saved one"
        )
    model.load_state_dict(found)
