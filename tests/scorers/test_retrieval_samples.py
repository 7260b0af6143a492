"""The samples that find retrieval heads run on the engine, and may end in any order. No model is needed here."""

from dataclasses import replace

import numpy as np
import polars as pl
from corpora import corpus_of_parts

from curate.scorers import _retrieval_heads, attention_influence


class Backwards:
    """Runs the last task first."""

    def run(self, function, tasks):
        yield from map(function, reversed(tasks))


def test_heads_do_not_depend_on_the_order_in_which_samples_end(tmp_path, monkeypatch):
    monkeypatch.setattr(attention_influence, "check_packages", lambda _: None)
    monkeypatch.setattr(_retrieval_heads, "retrieval", lambda _model, rng: rng.random((3, 4)))
    corpus = corpus_of_parts(pl.DataFrame({"id": ["a"], "text": ["one"]}))
    means = np.mean([np.random.default_rng((5, number)).random((3, 4)) for number in range(7)], axis=0)
    best = sorted(np.argsort(-means.ravel())[:4].tolist())
    for engine in (corpus.engine, Backwards()):
        scorer = attention_influence.learn(
            replace(corpus, engine=engine), model=str(tmp_path), samples=7, share=1 / 3, seed=5
        )
        assert scorer.heads.tolist() == [list(divmod(head, 4)) for head in best]
