"""Critical ratios as rows: of a table, and of the list in cmr.json."""

from collections.abc import Sequence

import polars as pl

from curate.continual.critical_ratio import CriticalRatio


def table(ratios: Sequence[CriticalRatio]) -> pl.DataFrame:
    """Return critical ratios, one row a tolerance and budget.

    Columns: tolerance, tokens, params, ceiling, share, low, high, safe, best, best_anywhere, gain, gain_low, gain_high
    (nats per token), domain_epochs, replay_epochs (the most of any other pool), note.
    """
    return pl.DataFrame([_row(ratio) for ratio in ratios], infer_schema_length=None)


def to_json(ratios: Sequence[CriticalRatio]) -> list[dict[str, object]]:
    """Return critical ratios as the ``ratios`` list of cmr.json."""
    return [
        {
            **{key: value for key, value in _row(ratio).items() if key not in ("tokens", "params")},
            "budget": {"tokens": ratio.budget.tokens, "params": ratio.budget.params},
            "pool": ratio.pool,
            "weights": dict(ratio.weights),
            "epochs": dict(ratio.epochs),
            "feasible": [list(interval) for interval in ratio.feasible],
            "examined": ratio.examined,
            "warnings": list(ratio.warnings),
            "curve": ratio.curve.to_dicts(),
        }
        for ratio in ratios
    ]


def _row(ratio: CriticalRatio) -> dict[str, object]:
    gain, gain_low, gain_high = ratio.gain or (None, None, None)
    return {
        "tolerance": ratio.tolerance,
        "tokens": ratio.budget.tokens,
        "params": ratio.budget.params,
        "ceiling": ratio.ceiling,
        "share": ratio.share,
        "low": ratio.low,
        "high": ratio.high,
        "safe": ratio.safe,
        "best": ratio.best,
        "best_anywhere": ratio.best_anywhere,
        "gain": gain,
        "gain_low": gain_low,
        "gain_high": gain_high,
        "domain_epochs": ratio.epochs[ratio.pool],
        "replay_epochs": ratio.replay_epochs,
        "note": ratio.note,
    }
