"""Say what kind of data set it is: intrinsic dimension, label sharpness, variety, and how far its sources overlap.

Example: curate describe data/ --encoder hashed --sample 5000 --json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Seed


def main(
    data: Annotated[
        list[str], typer.Argument(help="Files, folders, globs or s3://...: Parquet, JSONL (.gz, .zst), Arrow.")
    ],
    embedding: Annotated[str, typer.Option(help="The vector column to describe; none: vectors of the text.")] = "",
    encoder: Annotated[str, typer.Option(help="NAME or NAME:key=value,...: what makes vectors of texts.")] = "hashed",
    text_column: Annotated[str, typer.Option(help="The column that holds the text.")] = "text",
    sample: Annotated[int, typer.Option(min=4, help="Rows that are looked at, by hash of their id.")] = 5000,
    neighbours: Annotated[int, typer.Option(min=2, help="Nearest rows that the dimension is taken from.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Also write the result to this JSON file.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Describe a data set."""
    from curate.description import describe
    from curate.storage import artifacts
    from curate.tables import batches
    from pipelines.shared.show import result, table, warn

    options = {
        "embedding": embedding, "encoder": encoder, "text_column": text_column, "sample": sample,
        "neighbours": neighbours,
    }  # fmt: skip
    got = describe.describe(
        data, embedding=embedding, encoder=encoder, text_column=text_column, sample=sample, neighbours=neighbours,
        seed=seed,
    )  # fmt: skip
    record = {
        "rows": got.rows, "sample": got.sample, "duplicates": got.duplicates, "conflicts": got.conflicts,
        "dimension": got.dimension[0], "dimension_half": got.dimension[1], "two_nn": got.two_nn[0],
        "two_nn_half": got.two_nn[1],
        "vendi": got.vendi, "sharpness": got.sharpness, "sharpness_rows": got.pairs, "notes": list(got.notes),
        "sources": got.sources.to_dicts(), "overlap": None if got.overlap is None else got.overlap.to_dicts(),
    }  # fmt: skip
    if out is not None:
        inputs = [shard.path for shard in batches.shards(data)]
        artifacts.save(
            out, "description", {**record, "made_by": artifacts.made_by({"data": list(data), **options}, inputs, seed)}
        )
    distinct = got.sample - got.duplicates
    lines = [
        f"{got.rows} rows; {got.sample} sampled, {got.duplicates} of them equal to another and left out",
        f"intrinsic dimension {got.dimension[0]:.3g} by maximum likelihood over {neighbours} neighbours, "
        f"{got.two_nn[0]:.3g} by TwoNN ({got.dimension[1]:.3g} and {got.two_nn[1]:.3g} on half the sample)",
        f"Vendi score {got.vendi:.4g}: as varied as that many rows at right angles, of {distinct}",
    ]
    if got.sharpness is not None:
        lines.append(f"label sharpness {got.sharpness:.4g} over the pairs of {got.pairs} rows")
    if got.overlap is not None:
        lines += ["", table(got.sources), "", "Where the nearest other row is, as if sources were equally large:"]
        lines += [table(got.overlap, 2)]
    warn(got.notes)
    result(as_json, record, "\n".join(lines))
