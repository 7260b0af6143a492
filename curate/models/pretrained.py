"""Load tokenizers and networks that others trained, from a local folder; code that lies in the folder never runs."""

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from curate.errors import CurateError, SchemaError
from curate.shown import shortened

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("float32", "bfloat16", "float16")
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")  # names of files that hold the weights of a model


@dataclass(frozen=True)
class ModelSource:
    """A model, and how it is run. It is small: workers are sent this, and load the model themselves.

    Args:
        model: a folder, a GGUF file, or the id of a model that the cache of Hugging Face holds.
        device: auto (a CUDA device if there is one), cpu or cuda.
        dtype: type of the numbers in which the network computes: float32, bfloat16 or float16.

    Raises:
        CurateError: if the device or the type is none of these.
    """

    model: str
    device: str = "auto"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Check the names. Whether this machine has the device is seen when the model is loaded."""
        if self.device not in DEVICES:
            raise CurateError(f"device={self.device} is unknown. Give one of {', '.join(DEVICES)}")
        if self.dtype not in DTYPES:
            raise CurateError(f"dtype={self.dtype} is unknown. Give one of {', '.join(DTYPES)}")


def local_path(model: str) -> Path:
    """Return the folder or file of a model: ``model`` itself, or where the cache of Hugging Face holds this id.

    Raises:
        SchemaError: if there is neither. Nothing is downloaded.
    """
    if Path(model).exists():
        return Path(model)
    if (folder := cached(model)) is not None:
        return folder
    if _is_id(model):
        raise SchemaError(
            f"no model {model}: it is neither a folder here nor in the cache of Hugging Face. Run: hf download {model}"
        )
    raise SchemaError(f"no model at {model}. Name a folder or a GGUF file")


def cached(model: str) -> Path | None:
    """Return the folder in which the cache of Hugging Face holds the model of this id; None if it does not."""
    if Path(model).exists() or not _is_id(model):
        return None
    try:
        return Path(import_module("huggingface_hub").snapshot_download(model, local_files_only=True))
    # The package has a class of errors for each way in which a model can be missing. It may be missing itself.
    except (ImportError, OSError, ValueError):
        return None


def _is_id(model: str) -> bool:
    """Return whether this looks like ``owner/name``, and not like a path."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", model) is not None


def device_of(name: str) -> "torch.device":
    """Return the device that ``auto``, ``cpu`` or ``cuda`` names on this machine.

    Raises:
        CurateError: if it is ``cuda`` and torch finds no CUDA device.
    """
    import torch

    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise CurateError("device=cuda, but torch finds no CUDA device on this machine. Give device=cpu or device=auto")
    return torch.device("cuda" if has_cuda and name != "cpu" else "cpu")


def network_from(class_name: str, source: ModelSource, **options: object) -> "tuple[torch.nn.Module, torch.device]":
    """Return the network of a model, ready to run, and the device that it lies on.

    Raises:
        SchemaError: if the model has no weights, needs code of its own, or its files are damaged.
        CurateError: if there is no such device.
    """
    device = device_of(source.device)
    path = local_path(source.model)
    if path.is_dir() and not any(file for pattern in WEIGHTS for file in path.glob(pattern)):
        raise SchemaError(f"{path} has no weights ({', '.join(WEIGHTS)}). Fetch the model again, with its weights")
    folder, gguf = _parts(path)
    network = from_pretrained(class_name, folder, dtype=source.dtype, weights_only=True, **gguf, **options)
    return network.eval().requires_grad_(False).to(device), device  # type: ignore[attr-defined]


def tokenizer_from(source: ModelSource) -> object:
    """Return the tokenizer of a model.

    Raises:
        SchemaError: if it needs code of its own, or its files are damaged.
    """
    folder, gguf = _parts(local_path(source.model))
    return from_pretrained("AutoTokenizer", folder, **gguf)


def _parts(path: Path) -> tuple[Path, dict[str, object]]:
    """Return the folder of a model, and the options that name a GGUF file in it."""
    return (path.parent, {"gguf_file": path.name}) if path.suffix == ".gguf" else (path, {})


def from_pretrained(class_name: str, folder: Path, **options: object) -> object:
    """Return ``transformers.<class_name>.from_pretrained(folder)``. Nothing is downloaded.

    ``transformers`` would ask on the terminal whether to run a model's own code, and take "y" from whatever is piped
    into the job. It is therefore told that it must not, and reads weights as numbers only, not as pickled objects.

    Raises:
        SchemaError: if the model needs code of its own, or its files are damaged.
    """
    transformers = import_module("transformers")
    bars = transformers.utils.logging.is_progress_bar_enabled()
    # Its bars would be drawn over those of the job.
    transformers.utils.logging.disable_progress_bar()
    try:
        return getattr(transformers, class_name).from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True, **options
        )
    # The files of a model may be damaged in any way, and transformers raises whatever its parsers raise.
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise SchemaError(
                f"{folder} holds a model with code of its own, which is never run. Name a model that transformers knows"
            ) from None
        raise SchemaError(f"{folder} cannot be loaded as a model: {shortened(str(error), 300)}") from None
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
