"""Describe a data set: intrinsic dimension, label sharpness, variety, and how far its sources overlap.

With --against, compare two data sets instead: how well a classifier tells their rows apart, which words and clusters
tell them apart, and how far apart they lie. Compare what pruning kept with all data, or training with test data.

Example: curate describe data/ --encoder hashed --sample 5000 --json
Example: curate describe data/ --against kept/rows/
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.engine_options import Address, EngineName, EngineWorkers, RuntimeEnv
from pipelines.shared.flags import Columns, Join, Json, Render, Seed, TextColumn

if TYPE_CHECKING:
    from curate.description.comparison.result import DataComparison
    from curate.description.result import Description


def main(
    data: Annotated[
        list[str],
        typer.Argument(help="Files, folders, globs or s3:// addresses: Parquet, JSON, CSV, TSV (.gz, .zst), Arrow."),
    ],
    against: Annotated[
        list[str] | None, typer.Option(help="Files, folders or globs to compare the data with. May be repeated.")
    ] = None,
    embedding: Annotated[str, typer.Option(help="Column of vectors to describe. Default: encode the text.")] = "",
    encoder: Annotated[str, typer.Option(help="Encoder of the text: NAME or NAME:key=value,...")] = "hashed",
    columns: Columns = "",
    text_column: TextColumn = "text",
    join: Join = "",
    render: Render = "",
    dtype: Annotated[
        str,
        typer.Option(help="Type of vectors in fixed-size binary: float32 or float16. Default: what the files record."),
    ] = "",
    sample: Annotated[int, typer.Option(min=4, help="Rows to look at, chosen by the hash of their ids.")] = 5000,
    neighbours: Annotated[int, typer.Option(min=2, help="Nearest rows used to estimate the dimension.")] = 20,
    out: Annotated[Path | None, typer.Option(help="Also write the result to this JSON file.")] = None,
    seed: Seed = 0,
    engine: EngineName = "local",
    workers: EngineWorkers = None,
    address: Address = "",
    runtime_env: RuntimeEnv = "",
    as_json: Json = False,
) -> None:
    """Describe a data set."""
    from curate.description.comparison.result import DataComparison
    from curate.description.describe import describe
    from pipelines.shared import engine_options
    from pipelines.shared.show import progress, result, warn

    with progress():
        description = describe(
            data,
            against=against or None,
            embedding=embedding,
            encoder=encoder,
            text_column=text_column,
            columns=columns,
            join=join,
            render=render,
            dtype=dtype,
            sample=sample,
            neighbours=neighbours,
            seed=seed,
            engine=engine_options.engine(engine, workers, address, runtime_env),
        )
    if out is not None:
        description.save(out)
    warn(description.notes)
    if isinstance(description, DataComparison):
        text = _compared(description)
    else:
        text = _text(description, neighbours)
    result(as_json, description.record(), text)


def _compared(comparison: "DataComparison") -> str:
    from pipelines.shared.show import table

    (first, second), (first_sample, second_sample) = comparison.rows, comparison.sample
    words, distance = comparison.words, comparison.distance
    columns = {"first": "data", "second": "against"}
    beyond = "more than" if distance.distance > distance.chance_high else "not more than"
    lines = [
        f"{first} rows in the data and {second} in --against; {first_sample} and {second_sample} sampled",
        comparison.verdict,
        f"Transport distance of {distance.rows} rows of each: {distance.distance:.3g}, {beyond} that of random halves "
        f"of both together ({distance.chance:.3g} on average, at most {distance.chance_high:.3g})",
    ]
    if comparison.sources.height > 1:
        lines += ["", "Rows by source:", table(comparison.sources.rename(columns))]
    if words is not None and words.height:
        lines += ["", "Words whose share of the rows differs more than chance allows:", table(words.rename(columns), 3)]
    elif words is not None:
        lines += ["", "No word's share of the rows differs more than chance allows."]
    if comparison.clusters.height:
        heading = "Clusters of similar rows, by their share of the rows:"
        lines += ["", heading, table(comparison.clusters.rename(columns), 3)]
    return "\n".join(lines)


def _text(description: "Description", neighbours: int) -> str:
    from pipelines.shared.show import table

    (dimension, dimension_half), (two_nn, two_nn_half) = description.dimension, description.two_nn
    distinct = description.sample - description.duplicates
    lines = [
        f"{description.rows} rows; {description.sample} sampled, {description.duplicates} of them equal to another row "
        "and left out",
        f"Intrinsic dimension: {dimension:.3g} by maximum likelihood over {neighbours} neighbours, {two_nn:.3g} by "
        f"TwoNN ({dimension_half:.3g} and {two_nn_half:.3g} on half of the sample)",
        f"Vendi score: {description.vendi:.4g}. The {distinct} different rows are as varied as {description.vendi:.4g} "
        "rows at right angles",
    ]
    if description.sharpness is not None:
        lines.append(
            f"Label sharpness: {description.sharpness:.4g} over the pairs of {description.sharpness_rows} rows"
        )
    if description.overlap is not None:
        heading = "Share of each source's rows whose nearest other row is in each source, as if all were equally large:"
        lines += ["", table(description.sources), "", heading, table(description.overlap, 2)]
    return "\n".join(lines)
