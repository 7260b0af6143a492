"""A text model in ONNX from a local folder with ``model.onnx`` and ``tokenizer.json``, exported to give features.

In: texts. Out: the vectors of the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from curate import extras
from curate.errors import CurateError, SchemaError
from curate.models import batching, pooling
from curate.models.sentence_folder import SentenceSettings, settings_of
from curate.shown import shortened

FORMAT = 2  # since format 2 texts run in batches, and the folder says how long vectors are and where texts are cut
REQUIRES = "onnxruntime"  # a package that is not installed with curate itself
TOKENIZERS = "tokenizers"  # another one
# Names of model inputs that the tokenizer can give, and the attributes of its result that hold them.
INPUTS: Mapping[str, str] = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
LONGEST = 256  # tokens at which a text is cut if neither the user nor the model says so
KEPT_MODELS = 2  # models that a process keeps


@dataclass(frozen=True)
class Onnx:
    """The vector of a text by a model in ONNX format.

    If the model gives a vector for each token, they are pooled. If the folder has the settings of a
    sentence-transformers model, these decide how. Otherwise the vector is the mean, at unit length. Needs the extra
    ``onnx``. Texts of about equal length run together, and a vector does not depend on the other texts (see
    `curate.models.batching`).

    Options:
        path: folder of the model; ``model.onnx`` may lie in its folder ``onnx`` (required).
        longest: tokens at which a text is cut; 0 is the model's own limit, or 256 without one (default 0).
    """

    path: str = ""
    longest: int = 0

    def __post_init__(self) -> None:
        """Check that the files of the model exist, and that the packages are installed."""
        if self.longest < 0:
            raise CurateError(f"encoder onnx: longest={self.longest} must be at least 1, or 0 for the model's own")
        _model_file(self.path)
        for package in (REQUIRES, TOKENIZERS):
            extras.require("encoder onnx", package, "onnx")

    @property
    def width(self) -> int:
        """Length d of the vectors."""
        return int(self.encode(["a"]).shape[1])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32."""
        return _loaded(self.path, self.longest).embed(texts)


class Encoding(Protocol):
    """The part of a tokenizer's result that is used."""

    @property
    def ids(self) -> list[int]:
        """Return the numbers of the tokens."""
        ...

    @property
    def attention_mask(self) -> list[int]:
        """Return 1 for each token of the text, and 0 for each that fills it up."""
        ...

    @property
    def type_ids(self) -> list[int]:
        """Return the number of the text that each token belongs to: 0 for a text alone."""
        ...


class OnnxTokenizer(Protocol):
    """The part of a tokenizer that is used."""

    def encode_batch(self, texts: Sequence[str], /) -> Sequence[Encoding]:
        """Return the tokens of each text."""
        ...


class OnnxInput(Protocol):
    """An input of an ONNX model: a size of its shape is a number if the model has only that one."""

    name: str
    shape: list[int | str | None]


class OnnxSession(Protocol):
    """The part of a session of onnxruntime that is used."""

    def get_inputs(self) -> list[OnnxInput]:
        """Return the inputs of the model."""
        ...

    def run(self, names: None, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs of the model."""
        ...


@dataclass(frozen=True)
class OnnxModel:
    """A loaded model: its session, tokenizer and settings, and the most tokens of a text."""

    session: OnnxSession
    tokenizer: OnnxTokenizer
    settings: SentenceSettings | None
    limit: int

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32 vectors. A text without tokens has the zero vector."""
        prompt = self.settings.prompt if self.settings else ""
        lower = self.settings.lower if self.settings else False
        # If there are no texts, a text of our own shows how long the vectors are.
        words = [prompt + (text.lower() if lower else text) for text in texts] or ["a"]
        encodings = self.tokenizer.encode_batch(words)
        lengths = [len(encoding.ids) for encoding in encodings]
        vectors: dict[int, np.ndarray] = {}
        for batch in self._batches(lengths):
            states = self._run([encodings[row] for row in batch.rows], batch.width)
            for row, state in zip(batch.rows.tolist(), states, strict=True):
                vectors[row] = state if state.ndim == 1 else pooling.pooled(state[: lengths[row]], self._ways)
        width = len(next(iter(vectors.values()))) if vectors else 0
        result = np.zeros((len(words), width))
        for row, vector in vectors.items():
            result[row] = vector
        is_unit = self.settings is None or self.settings.unit
        return np.asarray(pooling.unit(result) if is_unit else result, np.float32)[: len(texts)]

    @property
    def _ways(self) -> Sequence[str]:
        return self.settings.pooling if self.settings else ("mean",)

    def _batches(self, lengths: Sequence[int]) -> Sequence[batching.Batch]:
        """Return batches of the sizes that the model takes: some are exported for one text, or one length."""
        inputs = self.session.get_inputs()
        size, width = (inputs[0].shape + [None, None])[:2]
        # Without a mask, padding would count as text: only texts of one length run together.
        step = batching.STEP if any(item.name == "attention_mask" for item in inputs) else 1
        if isinstance(width, int):
            step = width
        tokens = step if isinstance(size, int) else batching.BATCH_TOKENS
        return list(batching.by_length(lengths, self.limit, tokens=tokens, step=step))

    def _run(self, encodings: Sequence[Encoding], width: int) -> np.ndarray:
        """Return the first output for a batch: (b, width, d) vectors of tokens, or (b, d) vectors of texts."""
        inputs = {
            item.name: batching.padded([getattr(encoding, INPUTS[item.name]) for encoding in encodings], width, 0)
            for item in self.session.get_inputs()
        }
        return np.asarray(self.session.run(None, inputs)[0])


# A model is kept for the process, outside the encoder, which is sent to every worker.
@lru_cache(maxsize=KEPT_MODELS)
def _loaded(path: str, longest: int) -> OnnxModel:
    """Return a model, which is loaded once in a process and then kept."""
    model = _model_file(path)
    import onnxruntime
    from tokenizers import Tokenizer

    folder = Path(path)
    settings = settings_of(folder) if (folder / "modules.json").is_file() else None
    options = onnxruntime.SessionOptions()
    # One thread: workers share the cores, and sums in one order give the same bytes.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session: OnnxSession = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # Damaged files raise whatever the parsers of both packages raise; their classes have no common base.
    except Exception as error:
        raise SchemaError(f"{path} cannot be loaded as a model: {shortened(str(error), 300)}") from None
    limit = longest or (settings.limit if settings else 0) or LONGEST
    width = (session.get_inputs()[0].shape + [None, None])[1]
    limit = min(limit, width) if isinstance(width, int) else limit
    tokenizer.enable_truncation(limit)
    tokenizer.no_padding()
    if unknown := [item.name for item in session.get_inputs() if item.name not in INPUTS]:
        raise SchemaError(
            f"{model} has an input {unknown[0]}; encoder onnx gives {', '.join(INPUTS)}. Export the model without it"
        )
    return OnnxModel(session, tokenizer, settings, limit)


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
