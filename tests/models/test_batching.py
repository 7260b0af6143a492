"""Batches by length, windows of long texts, and padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.models import batching


@given(lengths=st.lists(st.integers(0, 100), max_size=40), tokens=st.integers(1, 300))
def test_every_text_with_tokens_is_in_one_batch_of_its_width(lengths, tokens):
    batches = list(batching.by_length(lengths, 100, tokens=tokens))
    rows = np.concatenate([np.zeros(0, int), *(batch.rows for batch in batches)])
    assert sorted(rows.tolist()) == [row for row, length in enumerate(lengths) if length]
    for batch in batches:
        assert all(lengths[row] <= batch.width < lengths[row] + batching.STEP for row in batch.rows)
        assert batch.width % batching.STEP == 0 or batch.width == 100
        assert len(batch.rows) == 1 or len(batch.rows) * batch.width <= tokens


def test_the_width_of_a_text_does_not_depend_on_the_others():
    alone = next(iter(batching.by_length([20], 100)))
    among = [batch for batch in batching.by_length([90, 20, 1, 31], 100) if 1 in batch.rows]
    assert alone.width == among[0].width == 32


@given(length=st.integers(0, 60), size=st.integers(1, 20), data=st.data())
def test_windows_cover_a_text_once_and_repeat_the_tokens_before(length, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    windows = batching.windows(length, size, overlap)
    assert [token for window in windows for token in range(window.first, window.stop)] == list(range(length))
    assert all(0 <= window.start <= window.first and window.stop - window.start <= size for window in windows)
    assert all(window.first - window.start == min(overlap, window.first) for window in windows)


def test_an_overlap_as_large_as_the_window_is_refused():
    with pytest.raises(ValueError, match="an overlap of 4 tokens must be at least 0 and below the window of 4"):
        batching.windows(9, 4, 4)


def test_padding_stands_on_the_right():
    assert batching.padded([[1, 2], [], [3]], 3, 9).tolist() == [[1, 2, 9], [9, 9, 9], [3, 9, 9]]
