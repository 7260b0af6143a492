"""Small valid records of jobs over rows, and the functions that read each, for tests that damage them."""

import json
from pathlib import Path
from types import SimpleNamespace

from artefact_samples import Sample

from curate.pruning.kept_rows import job as kept_rows
from curate.recipe import record as recipe_record
from curate.scoring.learning import corpus_parts, learned, seals
from curate.storage import artifacts
from curate.tables import scored
from curate.training_set import job_record, stages

INPUT = {"hash": "abc", "size": 12, "stamp": "1-2-3"}
SCORED = {
    "data": ["data"],
    "scorers": ["length:tokenizer=t.json", "duplicates"],
    "text_column": "messages",
    "columns": {"id": "DocID"},
    "render": "chat",
    "batch_rows": 4096,
    "document_bytes": 1 << 26,
    "formats": {"length": 1},
    "tokens": "tokenizer",
    "targets": {"t.json": "abc"},
}
DRAW = {"target": 10, "unique": 10, "rows": 2, "full": 1, "last": 0, "tokens": 10, "without_text": 1}
STEP = {"arguments": {"keep": 0.5}, "earlier": "abc", "ended": True, "outputs": {"kept/a.keep.parquet": INPUT}}
LEARNED = {"scorer": "dsir", "arguments": {}, "inputs": {"a.jsonl": INPUT}, "aside": ["b.jsonl"], "notes": ["x"]}
# The record of each kind of artefact, and its path in a folder.
RECORDS = {
    "score_job": ("_curate/score.json", SCORED),
    "corpus": ("_curate/corpus.json", seals.sealed({"parts": [{"generation": 0, "pieces": [["a.jsonl", 0, None]]}]})),
    "learned": ("_curate/learned/0-dsir.json", LEARNED),
    "job": ("_curate/materialize.json", {"arguments": {"seed": 0}, "inputs": {"a.jsonl": INPUT}}),
    "drawn_rows": (
        "_curate/order.json",
        {"draws": {"a": DRAW | {"held_rows": 1, "held_tokens": 3}, "b": DRAW}, "held_rows": 1},
    ),
    "kept_rows": ("_curate/rows.json", {"files": ["web-00000.parquet"]}),
    "recipe_run": ("_curate/recipe.json", {"recipe": "../r.toml", "content": "abc", "steps": {"prune": STEP}}),
    "demo_text": ("rows.json", {"bytes": {"code": 12}}),
    # Nothing reads these two but their users.
    "description": ("description.json", {"rows": 3, "against": {"rows": 4}}),
    "training_set": ("index.json", {"planned": 3, "shards": [{"file": "part-00000.parquet", "rows": 1, "tokens": 3}]}),
}


def _drawn(folder: Path) -> object:
    job = SimpleNamespace(order=folder / RECORDS["drawn_rows"][0], holdout=object(), out=folder, shard_rows=1)
    return stages.planned(job), stages.held_files(job)


READERS = {
    "score_job": (scored.reading, scored.token_counts),
    "corpus": (corpus_parts._recorded,),
    "learned": (lambda folder: learned.forget_learning_from(folder, ["c.jsonl"]),),
    "job": (lambda folder: job_record.changes(folder / RECORDS["job"][0], {"seed": 1}, []),),
    "drawn_rows": (_drawn,),
    "kept_rows": (kept_rows._check_foreign,),
    "recipe_run": (recipe_record.load,),
}


def job_samples(folder: Path) -> list[Sample]:
    """Write a record of each kind into a folder, and return them."""
    samples = []
    for kind, (name, record) in RECORDS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        artifacts.save(path, kind, record)
        plain = (lambda folder, name=name, kind=kind: artifacts.load(folder / name, kind),)
        samples.append(Sample(name, path.read_bytes(), READERS.get(kind, plain)))
    return samples


def kinds_of(samples: list[Sample]) -> set[str]:
    """Return the kinds of artefacts that some samples are of."""
    records = [json.loads(sample.content) for sample in samples]
    return {kind for kind in artifacts.KINDS for record in records if artifacts.has_field(record, kind)}
