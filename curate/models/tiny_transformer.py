"""Build a small transformer over bytes for a number of parameters, save it and load it."""

from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import SchemaError
from curate.storage.files import replacing

VOCABULARY = 256  # a token is a byte
HEAD_WIDTH = 16  # the width of an attention head, so that even the smallest model has one
ROTARY_BASE = 1e3  # the longest wavelength of positions: ten times shorter than usual, as contexts are short here


def width_for(params: float, layers: int) -> int:
    """Return the model width whose number of parameters is nearest to ``params``.

    It is a multiple of 16, from 16 to 1024.
    """
    widths = range(HEAD_WIDTH, 1025, HEAD_WIDTH)
    return min(widths, key=lambda d: abs(count_params(d, layers) - params))


def count_params(width: int, layers: int) -> int:
    """Return the exact number of parameters of a model."""
    # A layer has 4 d^2 for attention, 8 d^2 for the MLP and 2 d for its norms. The embedding is also the output matrix.
    return layers * (12 * width * width + 2 * width) + VOCABULARY * width + width


class Transformer(nn.Module):
    """A causal transformer over bytes. It maps (b, t) int64 bytes to (b, t, 256) logits."""

    def __init__(self, width: int, layers: int, context: int) -> None:
        """Build a model for at most ``context`` tokens. Its heads are 16 wide."""
        super().__init__()
        # Scaled so that the logits of a new model are of order 1.
        self.embed = nn.Embedding(VOCABULARY, width)
        nn.init.normal_(self.embed.weight, std=width**-0.5)
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        half = HEAD_WIDTH // 2
        angle = torch.arange(context)[:, None] * ROTARY_BASE ** (-torch.arange(half) / half)
        self.register_buffer("turn", torch.stack([angle.cos(), angle.sin()]), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (b, t, 256) logits of the next byte."""
        x = self.embed(tokens) * self.embed.embedding_dim**0.5
        for block in self.blocks:
            x = block(x, self.get_buffer("turn")[:, : tokens.shape[1]])
        return functional.linear(self.norm(x), self.embed.weight)


class TransformerBlock(nn.Module):
    """Attention and an MLP of four times the width, each after a root-mean-square norm."""

    def __init__(self, width: int) -> None:
        """Build the matrices of one layer, without biases."""
        super().__init__()
        self.norms = nn.ModuleList([nn.RMSNorm(width), nn.RMSNorm(width)])
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor, turn: Tensor) -> Tensor:
        """Return (b, t, d) activations for (b, t, d) activations and the rotations ``turn`` of `rotate`."""
        b, t, d = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(b, t, 3, d // HEAD_WIDTH, HEAD_WIDTH).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(rotate(q, turn), rotate(k, turn), v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, d))
        output: Tensor = x + self.down(functional.gelu(self.up(self.norms[1](x))))
        return output


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Rotate (b, h, t, 16) queries or keys by their positions (Su et al. 2021).

    ``turn`` holds (2, t, 8) cosines and sines.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * turn[0] - second * turn[1], first * turn[1] + second * turn[0]], dim=-1)


def save(model: Transformer, path: Path) -> None:
    """Write the parameters to a NumPy archive.

    The write is atomic: a job that stops leaves no partial file. The same model gives the same bytes.
    """
    arrays = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)


def load(model: Transformer, path: Path) -> None:
    """Set the parameters of a model to those in a file that `save` wrote.

    Raises:
        SchemaError: if the file does not hold a model, or holds a model of another size.
    """
    # NumPy would try to read any other file as a pickle, and refuse it with a message about pickles.
    if not is_zipfile(path):
        raise SchemaError(f"{path} is not a saved model. Give a file that curate.models.tiny_transformer.save wrote")
    try:
        with np.load(path, allow_pickle=False) as archive:
            state = {name: torch.from_numpy(archive[name]) for name in archive.files}
    except (OSError, ValueError, BadZipFile) as error:
        raise SchemaError(f"{path} cannot be read as a saved model ({error}): save it again") from None
    expected = model.state_dict()
    if {name: value.shape for name, value in expected.items()} != {name: value.shape for name, value in state.items()}:
        saved, wanted = (sum(value.numel() for value in values.values()) for values in (state, expected))
        raise SchemaError(
            f"{path} holds {saved:,} parameters and the budget asks for a model of {wanted:,}. "
            "Give the size, layers and context of the saved one"
        )
    model.load_state_dict(state)
