"""A text model in ONNX from a local folder with ``model.onnx`` and ``tokenizer.json``, exported to give features.

In: texts. Out: unit vectors of the model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from curate import extras
from curate.errors import CurateError, SchemaError
from curate.shown import shortened

REQUIRES = "onnxruntime"  # a package that is not installed with curate itself
TOKENIZERS = "tokenizers"  # another one
# names of model inputs that the tokenizer can give, in the order in which ``run`` builds them
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Onnx:
    """The vector of a text by a model in ONNX format, at unit length.

    It is the mean of the vectors of the tokens, or the one vector that the model gives. Needs the extra ``onnx``. Texts
    go through the model one by one, so that a vector does not depend on its batch.

    Options:
        path: folder of the model; ``model.onnx`` may lie in its folder ``onnx`` (required).
        longest: tokens at which a text is cut (default 256).
    """

    path: str = ""
    longest: int = 256

    def __post_init__(self) -> None:
        """Check that the files of the model exist, and that the packages are installed."""
        _model_file(self.path)
        for package in (REQUIRES, TOKENIZERS):
            extras.require("encoder onnx", package, "onnx")

    @property
    def width(self) -> int:
        """Length d of the vectors."""
        return len(_model(self.path, self.longest)(""))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32."""
        run = _model(self.path, self.longest)
        result = np.zeros((len(texts), self.width), np.float32)
        for i, text in enumerate(texts):
            vector = run(text)
            # a zero vector stays zero
            result[i] = vector / (float(np.sqrt((vector**2).sum())) or 1.0)
        return result


# a model is kept for the process, outside the encoder, which is sent to every worker
@lru_cache(maxsize=1)
def _model(path: str, longest: int) -> Callable[[str], np.ndarray]:
    """Return a function from a text to its vector (d,) float64."""
    model = _model_file(path)
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    # one thread: workers share the cores, and sums in one order give the same bytes
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(Path(path) / "tokenizer.json"))
    # Damaged files raise whatever the parsers of both packages raise; their classes have no common base.
    except Exception as error:
        raise SchemaError(f"{path} cannot be loaded as a model: {shortened(str(error), 300)}") from None
    tokenizer.enable_truncation(longest)
    tokenizer.no_padding()
    names = [node.name for node in session.get_inputs()]
    if unknown := [name for name in names if name not in INPUTS]:
        raise SchemaError(
            f"{model} has an input {unknown[0]}; encoder onnx gives {', '.join(INPUTS)}. Export the model without it"
        )

    def run(text: str) -> np.ndarray:
        tokens = tokenizer.encode(text)
        inputs = dict(zip(INPUTS, (tokens.ids, tokens.attention_mask, tokens.type_ids), strict=True))
        output = session.run(None, {name: np.array([inputs[name]], np.int64) for name in names})[0]
        states = np.asarray(output, np.float64)[0]
        return np.asarray(states.mean(axis=0) if states.ndim == 2 else states)

    return run


def _model_file(path: str) -> Path:
    """Return the path of the model in the folder ``path``, which must have a tokenizer too."""
    if not path:
        raise CurateError("encoder onnx needs a model. Give path=FOLDER with model.onnx and tokenizer.json")
    places = [Path(path) / "model.onnx", Path(path) / "onnx" / "model.onnx"]
    model = next((place for place in places if place.is_file()), None)
    if model is None or not (Path(path) / "tokenizer.json").is_file():
        raise SchemaError(
            f"{path} needs model.onnx (or onnx/model.onnx) and tokenizer.json. Name the folder of an exported model"
        )
    return model
