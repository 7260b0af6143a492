"""Turn the fit of a law into an entry of ``laws`` in fit.json, and back."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from curate.fitting.fit import Fit, law_of
from curate.laws import Law
from curate.laws._unfinished import TERM
from curate.runs.discrepancy import Discrepancy


def to_json(fit: Fit) -> dict[str, object]:
    """Return a fit as an entry of ``laws`` in fit.json."""
    return {
        "law": fit.spec,
        "eval": fit.eval,
        "pools": list(fit.pools),
        "theta": {name: values.tolist() for name, values in fit.theta.items()},
        "draws": [{name: values[i].tolist() for name, values in fit.draws.items()} for i in range(fit.draw_count)],
        "rmse": fit.rmse,
        "noise": fit.noise,
        "rows": fit.rows,
        "trainings": fit.trainings,
        "ranges": {name: list(ends) for name, ends in fit.ranges.items()},
        "heldout": dict(fit.heldout) if fit.heldout else None,
        "discrepancy": fit.discrepancy.to_json() if fit.discrepancy else None,
    }


def from_json(record: Mapping[str, object]) -> Fit:
    """Return the fit that ``to_json`` wrote.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    draws = cast(list[dict[str, float | list[float]]], record["draws"])
    theta = cast(dict[str, float | list[float]], record["theta"])
    pools = tuple(cast(list[str], record["pools"]))
    law = law_of(str(record["law"]), unfinished=TERM[0].name in theta)
    values = {name: torch.tensor(x, dtype=torch.float64) for name, x in theta.items()}
    drawn = {name: torch.tensor([draw[name] for draw in draws], dtype=torch.float64) for name in draws[0]}
    return Fit(
        spec=str(record["law"]),
        pools=pools,
        eval=str(record["eval"]),
        theta=_checked(law, len(pools), values, ()),
        draws=_checked(law, len(pools), drawn, (len(draws),)),
        rmse=float(cast(float, record["rmse"])),
        noise=float(cast(float, record["noise"])),
        rows=int(cast(int, record["rows"])),
        ranges=ranges_of(record),
        heldout=cast("dict[str, float | int | None] | None", record.get("heldout")),
        discrepancy=discrepancy_of(record),
        # Older files do not say how many trainings there were.
        trainings=int(cast(int, record.get("trainings", record["rows"]))),
    )


def ranges_of(record: Mapping[str, object]) -> dict[str, tuple[float, float]]:
    """Return the fitted ranges of an entry of ``laws`` in fit.json: tokens, params, epochs and all shares.

    The range of a share that the entry lacks is 0 to 1, so that no share counts as an extrapolation.

    Raises:
        KeyError, TypeError, ValueError: if another one is missing, its low end is above its high end, or below 0.
    """
    ends = cast(dict[str, list[float]], record["ranges"])
    shares = {f"share of {name}": [0.0, 1.0] for name in cast(list[str], record["pools"])}
    # A plan would fail on a missing range much later, and could not say in which file.
    if missing := [name for name in ("tokens", "params", "epochs") if name not in ends]:
        raise ValueError(f"ranges has no {missing[0]!r}")
    if reversed_ends := [name for name, (low, high) in ends.items() if low > high]:
        raise ValueError(f"the low end of ranges[{reversed_ends[0]!r}] is above its high end")
    # Warnings of extrapolation take logarithms of them.
    if negative := [name for name, (low, _) in ends.items() if low < 0]:
        raise ValueError(f"the low end of ranges[{negative[0]!r}] is {ends[negative[0]][0]:g}, which is below 0")
    return {name: (low, high) for name, (low, high) in (shares | ends).items()}


def discrepancy_of(record: Mapping[str, object]) -> Discrepancy | None:
    """Return the discrepancy of an entry of ``laws`` in fit.json; None in a file of an older version.

    Raises:
        KeyError, TypeError, ValueError: if a field is missing or wrong.
    """
    fields = cast("Mapping[str, object] | None", record.get("discrepancy"))
    return None if fields is None else Discrepancy.from_json(fields)


def _checked(law: Law, p: int, theta: dict[str, Tensor], leading: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the parameters; one that is missing, of another shape, not finite or of a wrong sign is an error."""
    if unknown := sorted(set(theta) - {param.name for param in law.params()}):
        raise ValueError(f"{unknown[0]!r} is no parameter of the law")
    # Tensors of a wrong shape would broadcast without an error, and predict nonsense.
    for param in law.params():
        shape = (*leading, p) if param.per_pool else leading
        values = theta[param.name]
        if values.shape != shape:
            raise ValueError(f"parameter {param.name} has shape {tuple(values.shape)}, where {p} pools make it {shape}")
        if not bool(values.isfinite().all()):
            raise ValueError(f"parameter {param.name} is not finite in {'a draw' if leading else 'theta'}")
        # Its power would be NaN, and an interval without ends would be written.
        if param.positive and bool((values < 0).any()):
            raise ValueError(f"parameter {param.name} is below 0 in {'a draw' if leading else 'theta'}")
    return theta
