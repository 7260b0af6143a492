"""Say in words which error to expect of the next runs, and of which parts it consists."""

import numpy as np

from curate.fitting.fitted_laws import FittedLaw, members_of

WIDER = 1.2  # times the scatter of the expected error: from there on the sentence on it names that of the intervals
SHOWN_EXCESS = 5e-4  # of log loss: a smaller part of the expected error is not named


def error_in_words(predictor: FittedLaw) -> str:
    """Return the expected error of the next runs and its parts, in a few sentences."""
    # Boosted trees keep no record of their held-out error.
    records = [getattr(fit, "heldout", None) for fit in members_of(predictor)]
    heldout = next((record for record in records if record), None)
    discrepancy = predictor.discrepancy
    if heldout is None or discrepancy is None:
        return ""
    if heldout["distance"] is None:
        return f"Held-out runs were missed by {heldout['measured']:.2%} on average."
    what = "size" if discrepancy.sizes > 1 else "length"
    factor = float(np.exp(heldout["distance"]))
    shift = discrepancy.shift_at_e * float(heldout["distance"]) ** 0.5
    # The scatter of the expected error, which that of the intervals exceeds: they allow for how few runs show it.
    each_run = predictor.noise if heldout["scatter"] is None else float(heldout["scatter"])
    parts = [
        f"{shift:.2%} that all runs of that {what} share, which is its usual size on public runs",
        f"{each_run:.2%} that differs from run to run",
    ]
    if (heldout["excess"] or 0.0) >= SHOWN_EXCESS:
        parts.append(f"{heldout['excess']:.2%} by which whole held-out {what}s were missed beyond the usual")
    if heldout["parameters"] is not None:
        parts.append(f"{heldout['parameters']:.2%} from the law's parameters, which so few runs do not determine")
    count = ("two", "three", "four")[len(parts) - 2]
    sentences = [
        f"At {factor:.2g} times the largest fitted {what}, expect predictions to be off by {heldout['heldout']:.2%} on "
        f"average. That error has {count} parts: {'; '.join(parts[:-1])}; and {parts[-1]}. The parts "
        "are standard deviations: their squares add up, and the average error is 0.8 times the root of the sum."
    ]
    if discrepancy.scatter > WIDER * each_run:
        sentences.append(f"Intervals take {discrepancy.scatter:.2%} for each run, because few runs show its scatter.")
    if heldout["levels"] == 1:
        small, changes = ("smaller", "size") if what == "size" else ("shorter", "tokens")
        sentences.append(
            f"Held-out runs, predicted from the {small} {what} alone, were missed by {heldout['measured']:.2%} on "
            f"average. One {what} does not show how the loss changes with {changes}, so little is known of the error "
            f"at the next {what}. Runs of a third {what} would show it."
        )
    else:
        # Fewer sizes show less of how the loss falls, so the next size may be missed by less than these runs.
        sentences.append(
            f"Held-out runs, predicted from fewer {what}s than the fit has now, were missed by "
            f"{heldout['measured']:.2%} on average."
        )
    if len(predictor.pools) > 1:
        # Tables often have the same mixtures at every size, so that held-out runs show no unseen mixture.
        sentences.append("Mixtures unlike the held-out ones may be missed by more.")
    return " ".join(sentences)
