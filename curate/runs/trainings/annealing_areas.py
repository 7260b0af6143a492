"""Compute the annealing areas S1 and S2 of learning-rate schedules (Tissue et al. 2024, arXiv 2408.11029).

S1 is the area under the learning rate over the steps, and S2 the annealing area. Both are in units of rate x steps.
"""

import numpy as np
import polars as pl
from scipy.signal import lfilter

from curate.runs.trainings.progress import FINISHED
from curate.runs.trainings.training_rows import numbers

MOST_STEPS = 10**7  # of one training: a larger number in the column step is probably a count of tokens or seconds
# A training whose rows in its second half have less than this share of the S2 of its last row falls late: a cosine or a
# linear schedule has half of it by then, and a rate that is held for four fifths of the training has none.
LATE = 0.25
SECOND_HALF = 0.5  # progress of its first row
FEW = 0.1  # share of the trainings that may fall late
MEMORY = 0.999  # lambda of the paper, for each step: a fall of the rate counts for about 1,000 steps


def s1_s2(rates: np.ndarray, memory: float = MEMORY) -> tuple[np.ndarray, np.ndarray]:
    """Return the areas S1 (t,) and S2 (t,) after each step of (t,) learning rates.

    S1 is the sum of the rates eta_i. S2 is the sum of m_i = memory m_(i-1) + (eta_(i-1) - eta_i) (Eq. 1).
    """
    falls = -np.diff(rates, prepend=rates[:1])
    momentum = lfilter([1.0], [1.0, -memory], falls)
    return rates.cumsum(), momentum.cumsum()


def of_rows(frame: pl.DataFrame, codes: np.ndarray) -> np.ndarray | None:
    """Return the areas S1 and S2 of the rows (n, 2), or None if the table does not show the schedules.

    A schedule shows if the column ``lr`` changes within the trainings of ``codes`` (n,), and the steps are in the
    column ``step`` or are tokens / batch_tokens. Between two rows the rate is taken to change evenly. Before the first
    row it is that of the first row, so that a warm-up counts as if it had the peak rate, as in the paper.
    """
    if "lr" not in frame.columns or not {"step", "batch_tokens"} & set(frame.columns):
        return None
    if "step" not in frame.columns:
        frame = frame.with_columns(step=pl.col("tokens") / pl.col("batch_tokens"))
    rates, steps = numbers(frame, "lr"), numbers(frame, "step")
    areas = np.full((len(frame), 2), np.nan)
    changes = False
    for code in np.unique(codes):
        rows = np.flatnonzero(codes == code)
        rows = rows[np.argsort(steps[rows], kind="stable")]
        if not (np.isfinite(rates[rows]) & (steps[rows] <= MOST_STEPS)).all():
            return None
        changes |= bool(np.ptp(rates[rows]) > 0)
        counts = np.maximum(np.round(steps[rows]).astype(np.int64), 1)
        s1, s2 = s1_s2(np.interp(np.arange(1, counts[-1] + 1), counts, rates[rows]))
        areas[rows] = np.column_stack([s1[counts - 1], s2[counts - 1]])
    return areas if changes else None


def fall_late(areas: np.ndarray, progress: np.ndarray, codes: np.ndarray) -> bool:
    """Return whether the learning rates of many trainings are held, and fall only towards the end.

    ``areas`` (n, 2) are S1 and S2 of the rows, ``progress`` (n,) how far their trainings had come, and ``codes`` (n,)
    the trainings. A training counts if it has a row in its second half, and if its rate falls at all.
    """
    count = int(codes.max()) + 1
    ends = np.zeros(count)
    np.maximum.at(ends, codes, areas[:, 1])
    rows = (progress >= SECOND_HALF) & (progress < FINISHED) & (ends[codes] > 0)
    counted = np.bincount(codes[rows], minlength=count)
    shares = np.bincount(codes[rows], areas[rows, 1] / ends[codes[rows]], minlength=count)
    judged = counted > 0
    return bool(judged.any()) and float((shares[judged] / counted[judged] < LATE).mean()) > FEW
