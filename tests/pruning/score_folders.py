"""Score folders as `curate score` leaves them, without the texts."""

import json

from curate.tables import batches

# The record of a job that scored the files of a folder d.
JOB = {"data": ["d"], "text_column": "text", "scorers": ["length"], "batch_rows": 4096}


def score_folder(out, frame, cuts=(25,), names="abcdefgh"):
    """Write score files as `curate score` does, cut after the given rows, without the texts."""
    edges = [0, *cuts, frame.height]
    for name, low, high in zip(names, edges[:-1], edges[1:], strict=False):
        batches.write(out / f"{name}.parquet.scores.parquet", [frame[low:high]], schema=frame.schema)
    (out / "_curate").mkdir()
    (out / "_curate" / "score.json").write_text(json.dumps(JOB))
    return out
