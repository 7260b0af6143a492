"""Folders that the method ``save_to_disk`` of Hugging Face ``datasets`` writes.

Such a folder holds Arrow streams, ``dataset_info.json``, and ``state.json``, which names the streams. Other Arrow files
in it are the caches of earlier steps. A ``DatasetDict`` is a folder of such folders, one a split.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from curate.errors import SchemaError
from curate.storage import files

STATE, RECORDS = "state.json", ("state.json", "dataset_info.json", "dataset_dict.json")
# Where versions of `datasets` named the files of a selection of rows.
SELECTIONS = ("_indices_name", "_indices_files", "_indices_data_files")


def only_data(listed: Sequence[tuple[Path, str]]) -> list[tuple[Path, str]]:
    """Return the files of a listing without the records and caches of saved data sets.

    Files are (path, path relative to the folder). Files in other folders are returned as they are.

    Raises:
        SchemaError: if a data set is a selection of the rows of its files, or one of its files is missing.
    """
    parts: dict[Path, set[str]] = {}
    for path, _ in listed:
        if path.name == STATE and (names := _parts(path)) is not None:
            parts[path.parent] = names
    for folder, names in parts.items():
        present = {path.name for path, _ in listed if path.parent == folder}
        if missing := sorted(names - present):
            raise SchemaError(
                f"{folder / STATE} names {missing[0]}, which is missing. Copy all {len(names)} files of the data set, "
                "or save it again"
            )
    tops = {folder.parent for folder in parts}
    return [
        (path, name)
        for path, name in listed
        if not (path.parent in parts and (path.name in RECORDS or _is_cache(path, parts[path.parent])))
        and not (path.parent in tops and path.name == "dataset_dict.json")
    ]


def _is_cache(path: Path, names: set[str]) -> bool:
    return path.name.endswith(".arrow") and path.name not in names


def _parts(state: Path) -> set[str] | None:
    """Return the names of the files of a saved data set; None if the JSON file is of another kind."""
    try:
        record = json.loads(files.read_text(state))
        names = {str(part["filename"]) for part in record["_data_files"]}
    except (ValueError, TypeError, KeyError):
        return None
    if any(record.get(key) for key in SELECTIONS):
        raise SchemaError(
            f"{state} selects some rows of the data set's files, and curate would read all of them. Save the data set "
            "again with dataset.flatten_indices().save_to_disk(FOLDER)"
        )
    return names
