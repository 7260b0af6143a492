"""Scores for any cut of rows into files, any order of files and of scorers, any bundles, and any number of workers."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from conftest import tree
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate.engines.local import Local
from curate.scoring import score
from curate.scoring.learning import corpus_parts
from curate.tables.corpus.array_files import read_arrays

LEARNERS = (
    "duplicates:bands=32,rows=4",
    "semdedup:epsilon=0.2,embedding=emb.x",
    "prototypes:k=3,embedding=emb.x",
    "density:k=3,embedding=emb.x",
    "d2:near=2,embedding=emb.x",
    "moderate:embedding=emb.x",
    "class_prototypes:embedding=emb.x",
    "coverage:near=2,planes=4,probes=50,embedding=emb.x",
    "label_quality",
    "dynamics:checkpoints=2,batch=7,embedding=emb.x",
    "transport_value:embedding=emb.x",
    "perplexity:order=2",
)
# A product of matrices may round the last bit in another way for another number of rows in a batch, and the rows of a
# file are a batch. Scores of these two are equal for equal files, and nearly equal for another cut into files.
NEARLY = ("score.transport_value", "logits.0", "logits.1")


def drawn_rows(rng, rows):
    """Rows of which some are copies or nearly copies, in texts and in vectors, with all columns that scorers read."""
    words = np.array("one two three four five six seven eight nine ten".split())
    texts = [" ".join(rng.choice(words, rng.integers(0, 25))) for _ in range(rows)]
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    for copy in rng.integers(1, rows, rows // 4):
        texts[copy] = texts[copy - 1] + rng.choice(["", "!", " ten"])
        x[copy] = x[copy - 1] + rng.choice([0, 0.05]) * rng.normal(size=4)
    label = rng.permutation(np.arange(rows) % 2)
    p = rng.dirichlet([1, 1], rows)
    return pl.DataFrame({"id": [f"r{i}" for i in range(rows)], "text": texts, "label": label}).with_columns(
        pl.Series("emb.x", x, dtype=pl.Array(pl.Float32, 4)), pl.Series("probs.0", p, dtype=pl.Array(pl.Float64, 2))
    )


def job(rng, frame, edges, folder, *, specs, bundle, workers):
    """Write files in a random order, score them, and return their score files and what scorers learned."""
    data, out = folder / "data", folder / "out"
    data.mkdir(parents=True)
    for number in rng.permutation(len(edges) - 1).tolist():
        frame[edges[number] : edges[number + 1]].write_parquet(data / f"{number:02d}.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_parts, "LEAST_BUNDLE_BYTES", bundle)
        patch.setattr(corpus_parts, "BUNDLES", 1 << 30)
        score.score(data, specs, out, engine=Local(workers))
    scores = {name: value for name, value in tree(out).items() if name.endswith(".scores.parquet")}
    return scores, learned_arrays(out)


def learned_arrays(out):
    """The arrays that each scorer learned and shares among all parts, as bytes."""
    paths = sorted((out / "_curate" / "learned").rglob("*.npz"))
    shared = [path for path in paths if "stored" not in path.parts]
    assert shared
    contents = ({key: value.tobytes() for key, value in read_arrays(path).items()} for path in shared)
    return sorted((sorted(arrays.items()) for arrays in contents), key=repr)


def by_id(scores):
    """The rows of score files in the order of their ids."""
    frames = [pl.read_parquet(content) for content in scores.values()]
    return pl.concat([frame for frame in frames if frame.height]).sort("id")


def check(seed, rows, cuts, other_cuts, bundles, *, learners=LEARNERS, workers=1):
    rng = np.random.default_rng(seed)
    frame = drawn_rows(rng, rows)
    specs = tuple(rng.permutation(learners).tolist())
    edges, other_edges = ([0, *sorted(cut % (rows + 1) for cut in chosen), rows] for chosen in (cuts, other_cuts))
    with TemporaryDirectory() as name:
        folder = Path(name)
        scores, learned = job(rng, frame, edges, folder / "1", specs=specs, bundle=bundles[0], workers=1)
        # The same files: the same bytes, in whatever order they were written, and whichever files are a part together.
        again = job(rng, frame, edges, folder / "2", specs=specs, bundle=bundles[1], workers=workers)
        assert again == (scores, learned)
        # Another cut and order of the rows, and another order of the scorers: the same scores of each row.
        mixed = frame[rng.permutation(rows).tolist()]
        specs = tuple(rng.permutation(learners).tolist())
        others, other_learned = job(rng, mixed, other_edges, folder / "3", specs=specs, bundle=bundles[0], workers=1)
        assert other_learned == learned
        first, second = by_id(scores), by_id(others)
        for name in set(first.columns) - {"source"}:
            if name in NEARLY:
                assert np.allclose(first[name].to_numpy(), second[name].to_numpy(), rtol=1e-6, atol=1e-9), name
            else:
                assert first[name].equals(second[name]), name


CUTS = st.lists(st.integers(0, 60), max_size=5)
DRAWN = given(
    seed=st.integers(0, 10**6),
    rows=st.integers(20, 60),
    cuts=CUTS,
    other_cuts=CUTS,
    bundles=st.permutations([1, 5000, 1 << 20]),
)


@settings(max_examples=2)
@DRAWN
@example(seed=1, rows=20, cuts=[0, 1, 1, 2, 20], other_cuts=[], bundles=[1, 1 << 20])
def test_scores_depend_on_the_rows_alone(seed, rows, cuts, other_cuts, bundles):
    # Three learners at a time, in turn, keep this quick; d2 reads the scores of prototypes.
    chosen = LEARNERS[seed % 4 :: 4]
    if any(spec.startswith("d2") for spec in chosen):
        chosen = tuple(dict.fromkeys([*chosen, *(spec for spec in LEARNERS if spec.startswith("prototypes"))]))
    check(seed, rows, cuts, other_cuts, bundles, learners=chosen)


@pytest.mark.slow
@settings(max_examples=20)
@DRAWN
def test_scores_of_all_learners_depend_on_the_rows_alone(seed, rows, cuts, other_cuts, bundles):
    check(seed, rows, cuts, other_cuts, bundles)


def test_two_workers_give_the_same_bytes():
    learners = [
        spec for spec in LEARNERS if spec.split(":")[0] in ("duplicates", "semdedup", "prototypes", "perplexity")
    ]
    check(seed=2, rows=50, cuts=[1, 1, 17, 40], other_cuts=[25], bundles=[1, 5000], learners=learners, workers=2)
