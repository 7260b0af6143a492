"""Say in one line whether a plan beat the baselines that were trained beside it."""

from collections.abc import Mapping, Sequence


def verdict(rows: Sequence[Mapping[str, object]]) -> str:
    """Return one line that says whether the plan won, and by how much.

    ``rows``: one a mixture, with its name ``mixture``, its loss ``measured`` (nats per byte), and ``inside``, whether
    that loss lies in the predicted interval. The mixture ``plan`` is compared with the others.
    """
    measured = {str(row["mixture"]): float(str(row["measured"])) for row in rows}
    others = {name: loss for name, loss in measured.items() if name != "plan"}
    rival = min(others, key=lambda name: others[name])
    gap = others[rival] - measured["plan"]
    beaten = sum(loss > measured["plan"] for loss in others.values())
    inside = sum(bool(row["inside"]) for row in rows)
    return (
        f"measured: the plan beats {beaten} of {len(others)} baselines; against the best of them ({rival}) it is "
        f"{abs(gap):.4f} nats per byte {'better' if gap > 0 else 'WORSE'}; "
        f"{inside} of {len(rows)} measured losses lie inside the 90 % interval"
    )
