"""Replace each sweep of learning rates and batch sizes by the lowest loss that it shows.

The runs of a sweep have the same recipe and differ in their learning rate, their batch size, or both. A quadratic in
the logarithms of these is fitted to the losses, as in the Step Law (Li et al. 2025, arXiv 2503.04715). Its minimum is
the loss of a well-tuned run. The lowest measured loss is not: among many noisy runs it is too low.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from curate.errors import SchemaError, amount, first_few
from curate.runs.runs import Runs
from curate.runs.trainings.progress import ROUNDED

MOST_COLUMNS = 2  # a quadratic of three variables has ten coefficients, more than a sweep has runs
# Runs whose loss exceeds the lowest of their sweep by more than this share say little about the minimum, because a loss
# rises faster than a quadratic where the rate is so high that training diverges.
WINDOW = 0.1
FEWEST_VALUES = 3  # of each variable: two do not show a curvature
EDGE = 1e-9  # of the range: a minimum so close to an end lies at the edge
# Columns that say what was trained and what it gave. The runs of a sweep differ in how they were trained.
RESULTS_AND_RECIPES = re.compile(
    r"(run|training|params|tokens|planned_tokens|seed|(weight|unique|distance|loss|metric)\..*)"
)
AT_AN_END = ("edge", "best run at edge")  # minima that may lie outside their sweep


@dataclass(frozen=True)
class Envelope:
    """A run table in which each sweep is one row.

    ``minima`` has one row for each sweep and loss: run (the best one), eval, the columns of the sweep at the minimum,
    loss, runs (a count), and how. That is ``quadratic``; ``edge`` if its minimum lies at the edge of the sweep; ``best
    run`` or ``best run at edge`` if there is no such quadratic; or ``one run``, which is no sweep.
    """

    runs: Runs
    minima: pl.DataFrame


@dataclass(frozen=True)
class _Minimum:
    """The place (d,) of a minimum in logarithms, the value there, and how it was found."""

    place: np.ndarray
    value: float
    how: str


def envelope(runs: Runs, columns: Sequence[str]) -> Envelope:
    """Return the run table with the minimum of each sweep over ``columns``, such as lr and batch_tokens.

    Rows are of one sweep if they are equal in weights, unique tokens, params, tokens, planned tokens, distances, seed
    and all columns of text other than run and training. Token counts that differ by less than 1 %, or by one batch, are
    equal: with another batch size, whole batches are another count. Each loss has a minimum of its own. A metric is
    read at the place of the minimum of the first loss. If a sweep has too few runs for a quadratic, or the quadratic
    has no minimum, the run with the lowest loss is kept. Start rows (tokens = 0) are left out.

    Raises:
        SchemaError: if there are more than two columns, one of them is missing, not positive, or part of the recipe, a
            run appears twice, or there is no loss.
    """
    runs = runs.trained()
    _check(runs, columns)
    frame = runs.frame
    place = np.log(np.column_stack([runs.numbers(name) for name in columns]))
    evals = list(runs.evals)
    values = {name: runs.loss(name, missing=True) for name in evals}
    metrics = [name for name in frame.columns if name.startswith("metric.")]
    measured = {name: runs.numbers(name) for name in metrics}
    keys = _keys(runs, columns)
    batches = runs.numbers("batch_tokens") if "batch_tokens" in columns else np.zeros(len(runs))
    codes = _sweeps(frame, keys, runs.clusters, batches)
    _refuse_copies(runs, columns, codes)
    names = runs.frame["run"].to_list()
    rows, minima = [], []
    for code in range(int(codes.max()) + 1):
        # By their names, so that the order of the rows does not matter.
        sweep = np.array(sorted(np.flatnonzero(codes == code).tolist(), key=lambda row: (names[row], *place[row])))
        best = int(sweep[np.argmin(np.nan_to_num(values[evals[0]][sweep], nan=np.inf))])
        row = {name: frame[name][best] for name in frame.columns if name in keys or name == "run"}
        first: _Minimum | None = None
        for name in evals:
            minimum = _minimum(place[sweep], values[name][sweep])
            row[f"loss.{name}"] = None if minimum is None else minimum.value
            if minimum is None:
                continue
            first = minimum if name == evals[0] else first
            coordinates = dict(zip(columns, np.exp(minimum.place).tolist(), strict=True))
            minima.append(
                {"run": row["run"], "eval": name}
                | coordinates
                | {"loss": minimum.value, "runs": len(sweep), "how": minimum.how if len(sweep) > 1 else "one run"}
            )
        for name in metrics:
            # Where training diverges, a metric is no quadratic either.
            near = sweep[values[evals[0]][sweep] <= values[evals[0]][best] * (1 + WINDOW)]
            row[name] = None if first is None else _metric_value(place[near], measured[name][near], first)
        rows.append(row)
    table = pl.DataFrame(minima, infer_schema_length=None)
    schema = {name: dtype for name, dtype in frame.schema.items() if name in rows[0]}
    trainings = _trainings(runs, codes)
    replaced = pl.DataFrame(rows, schema=schema).with_columns(trainings)
    notes = _notes(runs, columns, codes, table, frame, keys)
    return Envelope(replace(runs, frame=replaced, table_trainings=None, notes=(*runs.notes, *notes)), table)


def _check(runs: Runs, columns: Sequence[str]) -> None:
    written = f"--envelope {','.join(columns)}"
    if not 1 <= len(columns) <= MOST_COLUMNS or len(set(columns)) < len(columns) or not all(columns):
        twice = "the same column twice" if all(columns) and len(set(columns)) < len(columns) else ""
        empty = "" if all(columns) else "a column without a name"
        raise SchemaError(
            f"{written} names {empty or twice or f'{len(columns)} columns'}. Name one or two that the runs of a sweep "
            "differ in, such as lr,batch_tokens"
        )
    if recipe := next((name for name in columns if RESULTS_AND_RECIPES.fullmatch(name)), None):
        raise SchemaError(
            f"{written}: {recipe} is part of the recipe, or a result. Name columns of settings that a sweep changes, "
            "such as lr,batch_tokens"
        )
    if not runs.evals:
        raise SchemaError(f"{runs.origin} has no loss.<eval> column: --envelope looks for the lowest loss of a sweep")
    for name in columns:
        values = runs.numbers(name)
        bad = ~(np.isfinite(values) & (values > 0))
        if bad.any():
            row = int(bad.argmax())
            cell = "empty" if np.isnan(values[row]) else f"{values[row]:g}"
            raise SchemaError(
                f"{runs.origin}: {name} of run {runs.frame['run'][row]!r} is {cell}: --envelope needs a positive "
                f"number in every row; {int(bad.sum())} such rows. Fill it in, or drop the rows with --where"
            )
        if len(np.unique(values)) == 1:
            raise SchemaError(
                f"{runs.origin}: {name} is {values[0]:g} in all {len(runs)} runs: there is no sweep of it. Leave it "
                "out of --envelope"
            )


def _keys(runs: Runs, columns: Sequence[str]) -> list[str]:
    """Return the columns in which the runs of a sweep are equal."""
    names = []
    for name, dtype in runs.frame.schema.items():
        recipe = name in ("params", "tokens", "planned_tokens", "seed") or name.startswith(
            ("weight.", "unique.", "distance.")
        )
        word = not dtype.is_numeric() and name not in ("run", "training") and not name.startswith(("loss.", "metric."))
        if (recipe or word) and name not in columns:
            names.append(name)
    return names


def _sweeps(frame: pl.DataFrame, keys: Sequence[str], clusters: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Return the (n,) codes of sweeps, in the order in which they appear.

    ``clusters`` (n,) are trainings, and ``batches`` (n,) are tokens a step, or 0.
    """
    counts = [name for name in ("tokens", "planned_tokens") if name in keys]
    alike = _codes(frame.select(name for name in keys if name not in counts))
    lengths = np.column_stack([alike, *(_rounded(frame[name].to_numpy(), alike, batches) for name in counts)])
    codes = _codes(pl.DataFrame(lengths))
    # Two checkpoints of one training may be closer than whole batches are. Then only equal counts are of one sweep.
    exact = _codes(frame.select(keys))
    close = [code for code in np.unique(codes) if len(set(clusters[codes == code])) < (codes == code).sum()]
    return _codes(pl.DataFrame([codes, np.where(np.isin(codes, close), exact, -1)]))


def _rounded(counts: np.ndarray, groups: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Return (n,) counts in which those of one group that are nearly equal are the smallest of them.

    Nearly equal are those that differ by less than ``ROUNDED``, or by one batch of the group.
    """
    result: np.ndarray = np.where(np.isnan(counts), -1.0, counts)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        batch, smallest = batches[rows].max(), -np.inf
        for row in rows[np.argsort(result[rows], kind="stable")]:
            smallest = result[row] if result[row] - smallest > max(ROUNDED * smallest, batch) else smallest
            result[row] = smallest
    return result


def _refuse_copies(runs: Runs, columns: Sequence[str], codes: np.ndarray) -> None:
    """Refuse a run that is in a sweep twice."""
    rows = runs.frame.select("run", *columns).with_columns(pl.Series("sweep", codes))
    if (twice := rows.is_duplicated()).any():
        raise SchemaError(
            f"{runs.origin}: run {rows['run'].filter(twice)[0]!r} appears more than once with the same "
            f"{' and '.join(columns)} ({int(twice.sum())} such rows). Give every run its own name, or drop the copies"
        )


def _codes(keys: pl.DataFrame) -> np.ndarray:
    """Return the (n,) codes of equal rows, in the order in which they appear."""
    rows = [tuple(row) for row in keys.rows()]
    first: dict[tuple[object, ...], int] = {}
    return np.array([first.setdefault(row, len(first)) for row in rows])


def _trainings(runs: Runs, codes: np.ndarray) -> pl.Series:
    """Return the training of each sweep: sweeps of the same trainings, at other numbers of tokens, are one training.

    ``codes`` (n,) are of the sweeps.
    """
    clusters, names = runs.clusters, runs.trainings.names
    members = [tuple(np.unique(clusters[codes == code]).tolist()) for code in range(int(codes.max()) + 1)]
    # The number tells sweeps apart that share their first training.
    numbers = {several: number for number, several in enumerate(sorted(set(members)))}
    first = {cluster: str(name) for cluster, name in zip(clusters.tolist(), names.tolist(), strict=True)}
    return pl.Series("training", [f"{first[several[0]]} ({numbers[several]})" for several in members])


def _minimum(place: np.ndarray, values: np.ndarray) -> _Minimum | None:
    """Return the minimum of a convex quadratic through (n,) values at places (n, d), or the best run; None without one.

    The minimum is kept inside the range of the places.
    """
    measured = np.isfinite(values)
    if not measured.any():
        return None
    place, values = place[measured], values[measured]
    best = int(values.argmin())
    ends = np.isclose(place[best], place.min(axis=0)) | np.isclose(place[best], place.max(axis=0))
    at_edge = bool((ends & (np.ptp(place, axis=0) > 0)).any())
    fallback = _Minimum(place[best], float(values[best]), "best run at edge" if at_edge else "best run")
    near = values <= values[best] * (1 + WINDOW)
    x, y = place[near], values[near]
    # A variable that a sweep does not change has no part in its quadratic.
    varied = np.flatnonzero([len(np.unique(column)) > 1 for column in place.T])
    if not len(varied) or min(len(np.unique(x[:, j])) for j in varied) < FEWEST_VALUES:
        return fallback
    centre = place[best, varied]
    coefficients = _quadratic(x[:, varied] - centre, y)
    if coefficients is None:
        return fallback
    constant, slope, hessian = coefficients
    if np.linalg.eigvalsh(hessian).min() <= 0:
        return fallback
    low, high = x[:, varied].min(axis=0) - centre, x[:, varied].max(axis=0) - centre
    step = _lowest(slope, hessian, low, high)
    inside = (step > low + EDGE * (high - low)) & (step < high - EDGE * (high - low))
    spot = place[best].copy()
    spot[varied] += step
    value = constant + slope @ step + step @ hessian @ step / 2
    return _Minimum(spot, float(value), "quadratic" if inside.all() else "edge")


def _quadratic(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, np.ndarray] | None:
    """Return the constant, slope (d,) and Hessian (d, d) of least squares, or None where the points allow several."""
    d = x.shape[1]
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    scale = np.maximum(np.abs(x).max(axis=0), 1e-300)
    z = x / scale
    design = np.column_stack([np.ones(len(z)), z, *(z[:, i] * z[:, j] for i, j in pairs)])
    coefficients, _, rank, _ = np.linalg.lstsq(design, y)
    if rank < design.shape[1]:
        return None
    hessian = np.zeros((d, d))
    for (i, j), value in zip(pairs, coefficients[1 + d :], strict=True):
        hessian[i, j] += value / scale[i] / scale[j]
        hessian[j, i] += value / scale[i] / scale[j]
    return float(coefficients[0]), coefficients[1 : 1 + d] / scale, hessian


def _lowest(slope: np.ndarray, hessian: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the point (d,) inside the box from ``low`` to ``high`` where a convex quadratic is lowest; d is 1 or 2."""
    free = -np.linalg.solve(hessian, slope)
    if ((free >= low) & (free <= high)).all():
        return np.asarray(free)
    if len(slope) == 1:
        return np.clip(free, low, high)
    # The lowest point then lies on an edge of the box: on each, the quadratic has one variable.
    points = []
    for fixed in (0, 1):
        other = 1 - fixed
        for end in (low[fixed], high[fixed]):
            point = np.empty(2)
            point[fixed] = end
            point[other] = np.clip(
                -(slope[other] + hessian[other, fixed] * end) / hessian[other, other], low[other], high[other]
            )
            points.append(point)
    return min(points, key=lambda point: float(slope @ point + point @ hessian @ point / 2))


def _metric_value(place: np.ndarray, values: np.ndarray, minimum: _Minimum) -> float | None:
    """Return a metric at the place of a minimum: by its own quadratic, or in the run that is nearest to it."""
    measured = np.isfinite(values)
    if not measured.any():
        return None
    place, values = place[measured], values[measured]
    offset = place - minimum.place
    varied = np.flatnonzero(np.ptp(place, axis=0) > 0)
    if not minimum.how.startswith("best run") and len(varied):
        coefficients = _quadratic(offset[:, varied], values)
        if coefficients is not None:
            return float(coefficients[0])
    return float(values[int((offset**2).sum(axis=1).argmin())])


def _notes(
    runs: Runs, columns: Sequence[str], codes: np.ndarray, minima: pl.DataFrame, frame: pl.DataFrame, keys: list[str]
) -> list[str]:
    """Return what was done, where a sweep does not show its minimum, and what else differs within sweeps."""
    counts = np.bincount(codes)
    sweeps, alone = int((counts > 1).sum()), int((counts == 1).sum())
    if not sweeps:
        raise SchemaError(
            f"{runs.origin}: no two runs differ in {' and '.join(columns)} alone, so there is no sweep. The runs of a "
            f"sweep must be equal in {first_few(keys)}"
        )
    replaced = int(counts[counts > 1].sum())
    notes = [f"--envelope: {replaced} runs of {amount(sweeps, 'sweep')} are replaced by the lowest losses"]
    ends = frame.group_by(pl.Series("sweep", codes)).agg(low=pl.min("tokens"), high=pl.max("tokens"))
    if (widest := float((ends["high"] / ends["low"]).to_numpy().max()) - 1) > 0:
        notes.append(
            f"--envelope: the tokens of the runs of a sweep differ by up to {widest:.2%}, and count as equal. Each "
            "lowest loss gets the tokens of the best run"
        )
    if alone:
        notes.append(f"--envelope: {alone} of {len(runs)} rows belong to no sweep, and are kept as they are")
    for hows, text in (
        (
            AT_AN_END,
            "in {count} of {total} cases the lowest loss lies at the edge of its sweep (first: loss.{eval} of "
            "{run!r}), so the best {columns} may lie outside. Widen these sweeps",
        ),
        (
            ("best run",),
            "in {count} of {total} cases no quadratic with a minimum fits the sweep (first: loss.{eval} of {run!r}). "
            "The lowest measured loss stands in for the minimum there. Chance makes it lower than the true one by "
            f"about the noise of a run. A quadratic needs {'six runs' if len(columns) > 1 else 'three runs'}, and "
            "three values of each column",
        ),
    ):
        cases = minima.filter(pl.col("how").is_in(hows) & (pl.col("runs") > 1))
        if cases.height:
            total = minima.filter(pl.col("runs") > 1).height
            facts = {"eval": cases["eval"][0], "run": cases["run"][0], "columns": " and ".join(columns)}
            notes.append("--envelope: " + text.format(count=cases.height, total=total, **facts))
    others = [
        name
        for name, dtype in frame.schema.items()
        if dtype.is_numeric() and name not in (*keys, *columns, "step") and not name.startswith(("loss.", "metric."))
    ]
    varying = [
        name for name in others if len(frame.select(pl.Series("code", codes), name).unique()) > len(np.unique(codes))
    ]
    if varying:
        notes.append(
            f"--envelope: {first_few(varying)} differs within sweeps too, and is left out. To keep its values apart, "
            "choose one with --where"
        )
    return notes
