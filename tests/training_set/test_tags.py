"""A tag names the domain of a text, and its tokens are counted."""

import json

import polars as pl
import pytest

from curate.errors import Interrupted, SchemaError
from curate.pool.pool import Pool
from curate.pruning import make_pools
from curate.scoring import score
from curate.training_set.job import materialize


def written(tmp_path, rows, name="data.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def drawn(out):
    return pl.concat(pl.read_parquet(path) for path in sorted(out.glob("part-*.parquet")))


def test_a_tag_is_prepended_and_counted(tmp_path):
    rows = [{"text": "x" * 4 * (i + 1), "host": h} for i, h in enumerate(["en.org", "a  b\nc", None, 7.0])]
    pool = Pool(
        "web",
        1 + 2 + 3 + 4,
        4,
        (str(written(tmp_path, [{**row, "host": str(row["host"])} if row["host"] else row for row in rows])),),
    )
    result = materialize([pool], tmp_path / "out", tag="host")
    texts = dict(drawn(tmp_path / "out").select("id", "text").iter_rows())
    assert texts == {
        "data.jsonl:0": "host: en.org\n\nxxxx",
        "data.jsonl:1": "host: a b c\n\nxxxxxxxx",
        "data.jsonl:2": "xxxxxxxxxxxx",
        "data.jsonl:3": "host: 7.0\n\n" + "x" * 16,
    }
    tags = {"data.jsonl:0": 4, "data.jsonl:1": 4, "data.jsonl:2": 0, "data.jsonl:3": 3}
    tokens = dict(drawn(tmp_path / "out").select("id", "tokens").iter_rows())
    assert tokens == {name: i + 1 + tags[name] for i, name in enumerate(tags)}
    assert result.table()["unique_tokens"].to_list() == [10 + 11]
    assert result.table()["passes"].to_list() == [1]
    assert "Each text begins with a tag: `host: `" in (tmp_path / "out" / "README.md").read_text()


def test_the_source_of_scored_rows_is_a_tag_although_no_column_has_it(tmp_path):
    for name in ("web", "books"):
        (tmp_path / "data" / name).mkdir(parents=True)
        written(tmp_path / "data" / name, [{"text": f"{name} {i} " * 9} for i in range(20)])
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores")
    pools = make_pools.pools(tmp_path / "scores")
    result = materialize(pools, tmp_path / "out", tag="source", shard_rows=7)
    rows = drawn(tmp_path / "out")
    assert all(text.startswith(f"source: {source}\n\n") for source, text in rows.select("source", "text").iter_rows())
    # Without tags the same rows come in the same order.
    materialize(pools, tmp_path / "plain", shard_rows=7)
    plain = drawn(tmp_path / "plain")
    assert sorted(plain["id"]) == sorted(rows["id"])
    assert rows["tokens"].sum() == plain["tokens"].sum() + 20 * 4 + 20 * 4
    assert sum(draw.tokens for draw in result.draws) == rows["tokens"].sum()


@pytest.mark.parametrize(
    ("row", "tag", "message"),
    [
        ({"text": "word"}, "domain", "no column 'domain'; it has"),
        ({"text": "word", "domain": ["a"]}, "domain", r"--tag domain: in .*data\.jsonl it is List"),
        ({"text": "word", "domain": "x" * 300}, "domain", r"has 300 bytes, and a tag has at most 256"),
    ],
)
def test_a_tag_that_cannot_be_is_one_line(tmp_path, row, tag, message):
    pool = Pool("web", 1, 1, (str(written(tmp_path, [row])),))
    with pytest.raises(SchemaError, match=message) as caught:
        materialize([pool], tmp_path / "out", tag=tag)
    assert "\n" not in str(caught.value)


def test_conversations_get_no_tag(tmp_path):
    turns = pl.DataFrame({"text": [[{"role": "user", "content": "hello"}]], "tokens": [3]})
    turns.write_parquet(tmp_path / "chat.parquet")
    pool = Pool("chat", 3, 1, (str(tmp_path / "chat.parquet"),))
    with pytest.raises(SchemaError, match=r"--tag prepends a line to a column of text, and in .*chat\.parquet text is"):
        materialize([pool], tmp_path / "out", tag="source")


def words_tokenizer(folder):
    """Write a tokenizer of which every word and mark is a token."""
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_tags_are_counted_with_the_tokenizer_that_counted_the_texts(tmp_path):
    tokenizer = words_tokenizer(tmp_path)
    rows = [{"text": "one two three", "topic": "a long topic" if i % 2 else None} for i in range(10)]
    score.score([str(written(tmp_path, rows))], [f"length:tokenizer={tokenizer}"], tmp_path / "scores")
    pools = make_pools.pools(tmp_path / "scores")
    result = materialize(pools, tmp_path / "out", tag="topic")
    # `topic`, a colon and three words
    assert sorted(drawn(tmp_path / "out")["tokens"]) == [3] * 5 + [8] * 5
    assert result.notes == ()
    # The folder is continued only with these counts.
    tokenizer.write_text(tokenizer.read_text() + " ")
    with pytest.raises(Interrupted, match="tokenizers of tags"):
        materialize(pools, tmp_path / "out", tag="topic")
    result = materialize(pools, tmp_path / "changed", tag="topic")
    assert sorted(drawn(tmp_path / "changed")["tokens"]) == [3] * 5 + [3 + 6] * 5
    assert "is not the one any more that counted" in result.notes[0]
    tokenizer.unlink()
    result = materialize(pools, tmp_path / "gone", tag="topic")
    assert "are estimates (bytes / 4): " in result.notes[0]
    assert result.notes[0].endswith("tokenizer.json, which counted the tokens of the texts, is gone")
    assert result.notes[0] in (tmp_path / "gone" / "README.md").read_text()


def test_tags_beside_counts_of_the_user_are_told_to_be_estimates(tmp_path):
    rows = [{"text": "one two", "tokens": 2} for _ in range(3)]
    score.score([str(written(tmp_path, rows))], ["length"], tmp_path / "scores")
    result = materialize(make_pools.pools(tmp_path / "scores"), tmp_path / "out", tag="source")
    assert "a column of the inputs counts the tokens of the texts, and not those of tags" in result.notes[0]


def test_the_card_says_that_tokens_are_estimates(tmp_path):
    score.score([str(written(tmp_path, [{"text": "one two"}] * 3))], ["length"], tmp_path / "scores")
    materialize(make_pools.pools(tmp_path / "scores"), tmp_path / "out")
    assert "| split | rows | tokens (bytes / 4) |" in (tmp_path / "out" / "README.md").read_text()
