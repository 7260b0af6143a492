"""Choose how many examples to take of each source, from samples of the sources and of a target."""

from collections.abc import Mapping, Sequence

from curate.errors import SchemaError
from curate.fitting.fit import FitOptions
from curate.planning.limits import NO_LIMITS, Limits
from curate.pool.pool import Budget
from curate.runs.sources import column_map, read_tables
from curate.runs.sources.column_map import WrittenMap
from curate.runs.sources.read_tables import Tables
from curate.selection import pilot_table, samples
from curate.selection.choose_mixture import choose_mixture
from curate.selection.purchase import Purchase
from curate.selection.result import Selection
from curate.selection.sources import Sources, offers, opened
from curate.storage import artifacts
from curate.storage.arguments import as_json
from curate.tables.frames import Table
from curate.tables.scored_inputs.pool_reading import mapped
from curate.transport.ground_cost import problem

UNMAPPED = {"columns": "", "text_column": "text", "join": "", "render": ""}  # arguments for files read as they are
STARTS = 8  # of the fit of the law to pilots; it has few parameters


def select(
    sources: Sources,
    *,
    target: Table,
    budget: float,
    runs: Tables | None = None,
    eval: str | None = None,
    embedding: str | None = None,
    encoder: str | None = None,
    distance: str = "transport",
    labels: bool | None = None,
    sample: int = samples.SAMPLE,
    columns: str | Mapping[str, str] = "",
    text_column: str = "text",
    join: str | Sequence[str] = (),
    render: str = "",
    limits: Limits = NO_LIMITS,
    prices: Mapping[str, float] | None = None,
    seed: int = 0,
    arguments: Mapping[str, object] | None = None,
    map: WrittenMap = None,
    source: str | None = None,
) -> Selection:
    """Choose how many examples to take of each source, so that together they resemble the target.

    A few hundred samples of each source and of the target are enough. Without runs the mixture at the least
    optimal-transport distance to the target is taken; runs can show that another is better.

    Args:
        sources: pools.json; or a folder or glob whose files have a ``source`` column or folder each; or a path or a
            table in memory for each name.
        target: Samples of what the model shall be good at: a path, or a table in memory.
        budget: Examples to take in all, a whole number.
        runs: A run table of small trainings (a path, or a table in memory): ``weight.<source>``, tokens (counted in
            examples), and ``loss.<eval>`` or ``metric.<eval>`` (an accuracy between 0 and 1).
        eval: Which loss or metric; by default the only one.
        embedding: Which ``emb.<name>`` column; by default the only one that all have.
        encoder: Embed the text with this encoder instead, such as ``hashed:width=256``.
        distance: "transport"; or "sliced" or "energy", which are cheaper and rougher.
        labels: Compare classes too, by the column ``label``; by default if all sides have it.
        sample: Most rows of a source that are used.
        columns: Which columns of the sources stand for ``text``, ``id``, ``label`` and others, as for `curate.score`.
            Sources that were scored are read as they were scored. The target is read in the same way, as far as it has
            these columns.
        text_column: The column of texts.
        join: Columns of texts that are joined to one text, as for `curate.score`.
        render: ``chat`` if the column of texts holds conversations, as for `curate.score`.
        limits: Limits on the shares, on passes over a source, and on money.
        prices: Price of an example, by source.
        seed: Every random choice follows from it.
        arguments: What ``made_by`` records in the place of these arguments; the command line records its flags.

    Raises:
        SchemaError: if the samples, a name or a number is not as described, with what to change.
        Infeasible: if no mixture is within the limits.
        FitError: if there are too few runs for a law.
    """
    # First, while the parameters are the only local names.
    recorded = arguments or as_json({k: v for k, v in locals().items() if k not in ("arguments", "seed")})
    run_columns, reading = column_map.parse(map), mapped(columns, text_column, join, render)
    # Left out where they are not set, so that other files keep their bytes.
    unset = {"source": "", **{k: v for k, v in UNMAPPED.items() if recorded.get(k, v) in (v, [])}}
    recorded = {k: v for k, v in recorded.items() if k not in unset} | read_tables.how_read(run_columns, source)
    if not budget >= 1 or not float(budget).is_integer():  # neither NaN nor infinity is an integer
        raise SchemaError(f"a budget of {budget:g}: give a whole number of examples, 1 or more")
    with opened(sources, target, budget, reading) as inputs:
        sides = [*inputs.pools, inputs.target]
        drawn = samples.read(
            sides, inputs.reading_of, embedding, encoder=encoder, labels=labels, limit=sample, seed=seed
        )
        compared = problem({pool.name: drawn[pool.name] for pool in inputs.pools}, drawn[inputs.target.name], seed=seed)
    offered = offers(inputs.pools, prices or {})
    pilots = (
        None
        if runs is None
        else pilot_table.read(runs, eval, compared.names, map=run_columns.expressions, source=source)
    )
    size = 1.0 if pilots is None else float(pilots.recipes.params.max())
    purchase = Purchase(offered, Budget(float(budget), size), limits)
    options = FitOptions(starts=STARTS, seed=seed)
    choice = choose_mixture(compared, purchase, pilots=pilots, distance=distance, options=options)
    files, hashes = [*inputs.files], dict(inputs.hashes)
    if runs is not None:
        tables = read_tables.recorded(runs)
        files, hashes = [*files, *tables.files], hashes | dict(tables.hashes)
    made_by = artifacts.made_by(recorded, files, seed, hashes)
    return Selection(choice, inputs.recorded_pools(), compared, pilots, made_by, inputs.notes)
