"""Load tokenizers and networks that others trained, from a local folder; code that lies in the folder never runs."""

from importlib import import_module
from pathlib import Path

from curate.errors import SchemaError
from curate.shown import shortened


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
