"""What every encoder promises, checked for every file of ``curate/encoders``."""

import subprocess
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from conftest import text
from hypothesis import given
from hypothesis import strategies as st

from curate import plugins

NAMES = plugins.names("encoders")
EVERY = pytest.mark.parametrize("name", NAMES)
TEXTS = ["", " ", "one", "\n", "ü𝄞 \u200b", *map(text, range(12))]


def encoder(name):
    return plugins.build("encoders", name)


@EVERY
def test_shape_type_and_finite(name):
    made = encoder(name)
    vectors = made.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), made.width)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert made.encode([]).shape == (0, made.width)
    assert made.encode([]).dtype == np.float32


@EVERY
def test_it_is_frozen(name):
    with pytest.raises(FrozenInstanceError):
        encoder(name).width = 3


@EVERY
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=8))
def test_a_vector_depends_on_its_own_text_only(name, texts):
    made = encoder(name)
    known = dict(zip(TEXTS, made.encode(TEXTS), strict=True))
    assert np.array_equal(made.encode(texts), np.stack([known[t] for t in texts]))


@EVERY
def test_different_texts_have_different_vectors(name):
    vectors = encoder(name).encode([text(i) for i in range(12)])
    assert len(np.unique(vectors, axis=0)) == 12


@EVERY
def test_another_process_gives_the_same_bytes(name):
    code = (
        "from curate import plugins; import sys, hashlib; "
        f"v = plugins.build('encoders', {name!r}).encode(['one two', 'drei']); "
        "print(hashlib.sha256(v.tobytes()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
