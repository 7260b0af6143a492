"""Files whose rows end the process that reads them: set aside alone, or named."""

import json
import os
import signal

import pytest

from curate.engines import WorkerDied
from curate.engines.local import Local
from curate.scoring import score
from curate.tables.corpus import Corpus, FilePart
from curate.tables.shards import Shard

OWN = """
import os, signal
from dataclasses import dataclass
from typing import ClassVar
import polars as pl

@dataclass(frozen=True)
class Deadly:
    schema: ClassVar = {"score.deadly": pl.Float64()}
    needs: ClassVar = ("text",)
    meanings: ClassVar = {"score.deadly": "quality"}

    def __call__(self, batch):
        if batch["text"].str.contains("deadly").any():
            os.kill(os.getpid(), signal.SIGKILL)
        return pl.DataFrame({"score.deadly": batch["text"].str.len_chars().cast(pl.Float64)})
"""


@pytest.fixture
def data(tmp_path):
    """Four small files, which are one bundle. The second is deadly."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "abcd":
        texts = [f"text {i} of {name}{' deadly' if name + str(i) == 'b3' else ''}" for i in range(5)]
        lines = [json.dumps({"id": f"{name}{i}", "text": text}) for i, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "own.py").write_text(OWN)
    return folder


@pytest.mark.parametrize("others", [pytest.param((), marks=pytest.mark.slow), ("duplicates",)])
def test_a_file_that_ends_its_worker_is_set_aside_and_the_others_are_scored(data, others, tmp_path):
    scorers = (f"{tmp_path / 'own.py'}:Deadly", *others)
    scored = score.score(data, scorers, tmp_path / "out", engine=Local(2))
    assert scored.rows == 15
    (reason,) = scored.quarantined.values()
    assert list(scored.quarantined) == ["b.jsonl"]
    assert reason.startswith(f"{data / 'b.jsonl'}: the worker process ended each of the 3 times") and "\n" not in reason
    assert not list((tmp_path / "out").rglob("*.tmp"))
    # Repaired, it is scored by the same call.
    (data / "b.jsonl").write_text((data / "b.jsonl").read_text().replace("deadly", "lively"))
    assert score.score(data, scorers, tmp_path / "out", engine=Local(2)).rows == 5


def test_with_fail_the_job_stops_and_names_the_first_file_of_the_bundle(data, tmp_path):
    with pytest.raises(WorkerDied, match=r"1 of 1 tasks remain. The task: \S*a.jsonl and 3 more"):
        score.score(data, f"{tmp_path / 'own.py'}:Deadly", tmp_path / "out", engine=Local(2), on_error="fail")


@pytest.mark.slow  # 20 processes are started
def test_a_job_that_ends_every_worker_stops(data, tmp_path):
    for file in data.iterdir():
        file.write_text(file.read_text().replace("text", "deadly", 2).replace("deadly", "text", 1))
    with pytest.raises(WorkerDied, match=r"The task: \S*[a-d].jsonl"):
        score.score(data, f"{tmp_path / 'own.py'}:Deadly", tmp_path / "out", engine=Local(2))


def die(rows):
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def test_a_worker_that_ends_while_a_scorer_learns_is_told_with_the_first_file_of_the_part(data, tmp_path):
    part = FilePart(tuple(Shard(data / f"{name}.jsonl", f"{name}.jsonl") for name in "abcd"))
    with pytest.raises(WorkerDied, match=r"1 of 1 tasks remain. The task: \S*a.jsonl and 3 more"):
        list(Corpus((part,), tmp_path / "work", Local(2)).map(die, ("text",), keep="signatures"))
