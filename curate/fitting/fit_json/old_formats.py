"""Read the body of a fit.json of an older format as one of the present format."""

from collections.abc import Mapping
from typing import TypeAlias, cast

Record: TypeAlias = Mapping[str, object]


def as_list(record: Record) -> Record:
    """Return the body of a fit.json with its laws in a list, as files of format 2 have it.

    In format 1 a law's fields stand at the top level. A blend has its members under ``fits``, a comparison of corpora
    or a curve for each run has a dictionary there.
    """
    if "laws" in record:
        return record
    parts = record.get("fits")
    if isinstance(parts, list):
        weights = cast(list[float], record["weights"])
        return {**record, "laws": [{**part, "weight": w} for part, w in zip(parts, weights, strict=True)]}
    if isinstance(parts, dict):
        # The curves of relearn share parameters, which stood at the top; each run's own parameters join them.
        key = "corpus" if "by" in record else "run"
        shared = {} if "by" in record else {"law": record["law"]}
        common = cast(Record, record.get("theta", {}))
        laws = [{**shared, **part, key: name, "theta": {**common, **part["theta"]}} for name, part in parts.items()]
        return {**record, "laws": laws}
    return {**record, "laws": [{**record, "weight": 1.0}]}
