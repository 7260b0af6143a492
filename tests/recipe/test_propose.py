"""`curate run --init` writes a recipe that runs as it is, whatever the shape of the data."""

import json
import shlex
import tomllib
from pathlib import Path

import polars as pl
import pytest
from conftest import documents, text, tree

from curate.errors import SchemaError
from curate.recipe import keys
from curate.recipe.proposal.propose import propose
from curate.recipe.proposal.texts import measure

HAS_COLUMNS = "columns" in keys.keys("data")


def prose(i: int) -> str:
    return f"Document {i} tells of something else. " + text(i, 90).capitalize() + "."


def parquet(folder: Path) -> None:
    """Texts under a name of their own, ids, sources and true tokens."""
    rows = range(60)
    frame = pl.DataFrame(
        {
            "DocID": [f"d{i}" for i in rows],
            "Raw Content": [prose(i) for i in rows],
            "data_source": ["web" if i % 3 else "books" for i in rows],
            "n_tokens": [len(prose(i)) // 4 for i in rows],
        }
    )
    frame[:30].write_parquet(folder / "a.parquet")
    frame[30:].write_parquet(folder / "b.parquet")


def jsonl(folder: Path) -> None:
    """Packed lines without ids, with a nested source."""
    rows = [{"text": prose(i), "meta": {"domain": f"site{i % 2}", "n": i}} for i in range(50)]
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def csv(folder: Path) -> None:
    """A table whose longest column is the text, with class labels."""
    rows = range(40)
    frame = pl.DataFrame(
        {"review": [prose(i) for i in rows], "stars": [i % 5 for i in rows], "label": [i % 2 for i in rows]}
    )
    frame.write_csv(folder / "reviews.csv")


def pairs(folder: Path) -> None:
    """Questions and answers in two columns."""
    rows = [{"prompt": f"What is {i}?", "answer": prose(i)} for i in range(30)]
    (folder / "qa.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def code(folder: Path) -> None:
    """Sources of Python."""
    lines = [f"import os\n\n\ndef function_{i}(x):\n    y = x + {i}\n    return y\n" for i in range(40)]
    pl.DataFrame({"content": lines}).write_parquet(folder / "code.parquet")


def chat(folder: Path) -> None:
    """Conversations as OpenAI spells them."""
    rows = [
        {"messages": [{"role": "user", "content": f"Ask {i}"}, {"role": "assistant", "content": prose(i)}]}
        for i in range(30)
    ]
    (folder / "chat.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def parts(folder: Path) -> None:
    """Conversations whose contents are texts in some messages, and lists of parts in others."""
    contents = ["Look.", [{"type": "text", "text": "See "}, {"type": "image_url", "image_url": {"url": "a.png"}}]]
    rows = [
        {
            "n": i,
            "messages": [{"role": "user", "content": contents[i % 2]}, {"role": "assistant", "content": prose(i)}],
        }
        for i in range(20)
    ]
    (folder / "parts.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def parts_alone(folder: Path) -> None:
    """Conversations in Parquet whose contents are all lists of parts."""
    content = [[{"type": "text", "text": prose(i)}] for i in range(20)]
    frame = pl.DataFrame({"messages": [[{"role": "user", "content": item}] for item in content]})
    frame.write_parquet(folder / "parts.parquet")


def json_in_csv(folder: Path) -> None:
    """Conversations as JSON in a column of CSV, in both spellings."""
    openai = [json.dumps([{"role": "user", "content": prose(i)}]) for i in range(10)]
    sharegpt = [json.dumps({"conversations": [{"from": "human", "value": prose(i + 10)}]}) for i in range(10)]
    pl.DataFrame({"chat": openai + sharegpt, "note": ["a"] * 20}).write_csv(folder / "chat.csv")


def repeated_ids(folder: Path) -> None:
    """Ids that number the rows of each file anew, and a source that is a struct."""
    frame = pl.DataFrame({"id": range(20), "text": [prose(i) for i in range(20)], "source": [{"url": "a"}] * 20})
    frame.write_parquet(folder / "a.parquet")
    frame.with_columns(text=pl.col("text") + " Another.").write_parquet(folder / "b.parquet")


def labelled(folder: Path) -> None:
    """Short texts of three classes."""
    rows = [{"text": f"{prose(i)} {'abc'[i % 3] * 9}", "label": "abc"[i % 3]} for i in range(60)]
    (folder / "classes.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def tiny(folder: Path) -> None:
    """Three rows."""
    pl.DataFrame({"text": [prose(i) for i in range(3)]}).write_parquet(folder / "three.parquet")


def greek(folder: Path) -> None:
    """Texts in another script."""
    words = "η γρήγορη καφέ αλεπού πηδάει σήμερα πάνω από τον τεμπέλη σκύλο και τρέχει μετά στο δάσος".split()
    texts = [" ".join(words[(i * 7 + j * (1 + i % 5)) % len(words)] for j in range(60)) + f" {i}." for i in range(40)]
    pl.DataFrame({"text": texts}).write_parquet(folder / "greek.parquet")


def mixed(folder: Path) -> None:
    """Prose, and code that repeats its lines, in two sources."""
    body = "    if value is None:\n        raise ValueError(name)\n    return value\n"
    programs = [f"def check_{i}_{j}(name, value):\n{body}" for i in range(20) for j in range(12)]
    rows = [{"text": prose(i), "source": "books"} for i in range(60)]
    rows += [{"text": "\n".join(programs[12 * i : 12 * i + 12]), "source": "code"} for i in range(20)]
    (folder / "mixed.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


WRITERS = [parquet, jsonl, csv, pairs, code, chat, parts, parts_alone, json_in_csv, repeated_ids]
WRITERS += [labelled, tiny, greek, mixed]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("write", WRITERS, ids=lambda f: f.__name__)
def test_the_written_recipe_runs_as_it_is(data, cli, write):
    write(data)
    if write is chat and "render" not in keys.keys("data"):
        refused = cli("run", "--init", "data")
        assert refused.code == 1 and "the column 'messages' holds conversations" in refused.err
        return
    first = cli("run", "--init", "data")
    assert first.code == 0, first.err
    assert "wrote recipe.toml" in first.out
    written = Path("recipe.toml").read_text()
    assert all(len(line) <= 120 for line in written.splitlines())
    done = cli("run", "recipe.toml", "--out", "out")
    assert done.code == 0, done.err
    rows = pl.read_parquet("out/train/part-*.parquet")
    removal = pl.read_parquet("out/kept/removal.parquet")
    kept = removal.filter(pl.col("reason") == "kept")["rows"].sum()
    assert 0 < rows.height == kept <= removal["rows"].sum()
    assert json.loads(Path("out/pools.json").read_text())["pools"]
    assert cli("run", "recipe.toml", "--out", "out").out.startswith("nothing to do")


def test_columns_are_told_by_name_and_content(data):
    parquet(data)
    proposal = propose(["data"])
    assert proposal.facts["columns"] == {
        "text": "Raw Content",
        "id": "DocID",
        "source": "data_source",
        "tokens": "n_tokens",
    }
    table = tomllib.loads(proposal.text)["data"]
    if HAS_COLUMNS:
        assert table["columns"] == {**proposal.facts["columns"], "text": '"Raw Content"'}
    else:
        assert table["text-column"] == "Raw Content"
    assert "60 different values in 60 rows" in proposal.text


def test_a_name_alone_is_no_reason(data):
    """Ids repeat, sources differ in every row, tokens are no counts."""
    frame = documents(40).with_columns(
        pl.lit("same").alias("id"),
        pl.int_range(40).cast(pl.String).alias("source"),
        pl.lit(3, pl.Int64).alias("tokens"),
    )
    frame.write_parquet(data / "a.parquet")
    proposal = propose(["data"])
    assert proposal.facts["columns"] == {"text": "text"}
    # Jobs read columns of these names, unless they are told not to.
    assert tomllib.loads(proposal.text)["data"]["columns"] == dict.fromkeys(("id", "source", "tokens"), "NULL")
    assert "the column id is not read: 39 rows of the sample repeat the id of another row" in proposal.lines


def test_conversations_are_proposed_to_be_rendered(data):
    for write in (parts, json_in_csv):
        write(data)
    table = tomllib.loads(propose(["data/parts.jsonl"]).text)["data"]
    assert table["columns"] == {"text": "messages"} and table["render"] == "chat"
    proposal = propose(["data/chat.csv"])
    assert tomllib.loads(proposal.text)["data"]["render"] == "chat"


def test_nested_sources_and_labels(data):
    jsonl(data)
    assert propose(["data"]).facts["columns"]["source"] == "meta.domain"
    (data / "x.jsonl").unlink()
    csv(data)
    facts = propose(["data"]).facts
    assert facts["columns"] == {"text": "review", "label": "label"}
    assert facts["formats"] == {".csv": 1}


def test_columns_that_the_user_knows(data, cli):
    parquet(data)
    proposal = propose(["data"], columns="text=DocID")
    assert proposal.facts["columns"]["text"] == "DocID"
    told = cli("run", "--init", "data", "--columns", "text=Raw Contents")
    assert told.code == 1 and "the data has no column 'Raw Contents'" in told.err
    told = cli("run", "--init", "data", "--columns", "texts=Body")
    assert told.code == 1 and "there is no role 'texts'; did you mean 'text'?" in told.err
    told = cli("run", "recipe.toml", "--columns", "text=Body")
    assert told.code == 2 and "only --init has this option" in told.err


def test_a_recipe_is_not_overwritten(data, cli):
    parquet(data)
    shown = cli("run", "--init", "data", "--dry-run")
    assert "[[score]]" in shown.out and not Path("recipe.toml").exists()
    assert cli("run", "--init", "data").code == 0
    assert Path("recipe.toml").read_text() == shown.out.removesuffix("\n")
    Path("recipe.toml").write_text("mine")
    refused = cli("run", "--init", "data")
    assert refused.code == 1 and "recipe.toml exists already" in refused.err
    assert Path("recipe.toml").read_text() == "mine"
    assert cli("run", "--init", "data", "--force").code == 0


def test_paths_are_seen_from_the_recipe(data, cli):
    parquet(data)
    Path("recipes").mkdir()
    assert cli("run", "--init", "data", "--out", "recipes/one.toml").code == 0
    assert tomllib.loads(Path("recipes/one.toml").read_text())["data"]["paths"] == ["../data"]
    assert cli("run", "recipes/one.toml", "--out", "out").code == 0


def test_the_same_data_give_the_same_recipe(data, cli):
    parquet(data)
    assert propose(["data"]).text == propose(["data"]).text
    record = json.loads(cli("run", "--init", "data", "--json").out)
    assert record["rows"] == 60 and record["sampled_rows"] == 60


def test_code_is_told_from_prose():
    source = Path(__file__).read_text()
    assert measure(pl.Series([source])).are_code
    assert not measure(pl.Series([prose(i) for i in range(9)])).are_code
    assert measure(pl.Series(["a", "a", None, " "])).copies == 0.5
    assert measure(pl.Series(["a", "a", None, " "])).empty == 0.5


def requirements(proposal) -> list[str]:
    return tomllib.loads(proposal.text)["prune"]["require"]


def test_rules_for_prose_are_not_applied_to_code(data):
    code(data)
    proposal = propose(["data"])
    assert requirements(proposal) == ["score.length >= 1", "score.duplicates >= 0.25"]
    assert "Gopher's limits are for prose, and good code repeats more." in proposal.text.replace("\n    # ", " ")
    assert '    # "score.repetition >= 0",' in proposal.text.splitlines()
    (data / "code.parquet").unlink()
    mixed(data)
    proposal = propose(["data"])
    assert "score.repetition >= 0" not in requirements(proposal)
    (line,) = [line for line in proposal.lines if line.startswith("not applied: score.repetition")]
    assert line.endswith("write it for the others: source = 'code' OR (score.repetition >= 0)")
    assert "Of the texts that look like code 100.0% fail." in proposal.text.replace("\n    # ", " ")
    (data / "mixed.jsonl").unlink()
    parquet(data)
    assert "score.repetition >= 0" in requirements(propose(["data"]))


def without_marks(recipe: str, wanted: str) -> str:
    """The recipe in which a user removed the marks in front of what is not done."""
    tables, lines, in_table = [], [], False
    for line in recipe.splitlines():
        plain = line.strip().removeprefix("# ")
        in_table = (in_table and line.startswith("# ")) or line.startswith("# [[score]]")
        if in_table or plain.startswith(f'"score.{wanted}'):
            line = plain
        lines.append(line)
    return "\n".join([*lines, *tables])


@pytest.mark.parametrize("write", [labelled, code, chat, greek])
def test_what_needs_files_of_the_user_stands_in_comments(data, cli, write):
    write(data)
    proposal = propose(["data"])
    written = tomllib.loads(proposal.text)
    assert not {"contamination", "classifier", "label_quality"} & {table["scorer"] for table in written["score"]}
    whole = tomllib.loads(without_marks(proposal.text, "contamination"))
    names = [table["scorer"] for table in whole["score"]]
    assert names[len(written["score"]) :][:2] == ["contamination", "classifier"]
    assert "score.contamination >= 1" in whole["prune"]["require"]
    assert ("label_quality" in names) == (write is labelled)
    # With files in their places it runs.
    Path("benchmarks").mkdir()
    Path("good").mkdir()
    column = written["data"].get("columns", {}).get("text", "text")
    question = "Who ever wrote sentence number {} quite like this one before, anywhere else or in any book"
    texts = pl.DataFrame({column if write is code else "text": [question.format(i) for i in range(30)]})
    texts.write_ndjson("benchmarks/b.jsonl")
    texts.write_ndjson("good/g.jsonl")
    Path("recipe.toml").write_text(without_marks(proposal.text, "contamination"))
    done = cli("run", "recipe.toml", "--out", "out")
    assert done.code == 0, done.err
    scores = pl.read_parquet(next(Path("out/scores").glob("*.scores.parquet")))
    assert {"score.contamination", "score.classifier"} <= {*scores.columns}


def test_a_recipe_leaves_some_of_the_data(data):
    """Each filter removes less than half; together they would remove nearly all."""
    short = [" ".join(f"word{i}x{j}" for j in range(30)) for i in range(30)]
    repeats = ["the same line of words\n" * 60 + str(i) for i in range(30)]
    pl.DataFrame({"text": [*short, *repeats, prose(1), prose(2)]}).write_parquet(data / "a.parquet")
    proposal = propose(["data"])
    assert "62 rows are few: read removal.md to see whether good ones are lost" in proposal.lines
    assert not {"score.length >= 50 AND score.length <= 100000", "score.repetition >= 0"} <= {*requirements(proposal)}
    assert any("with the others it would remove over 90% of the data" in line for line in proposal.lines)


def test_the_commonest_language_is_proposed(data):
    pytest.importorskip("py3langid")
    german = "Der schnelle braune Fuchs springt heute über den faulen Hund und läuft danach durch den Wald nach Hause. "
    frame = pl.DataFrame({"text": [f"{german * 4} {i}" for i in range(20)]})
    frame.write_parquet(data / "a.parquet")
    proposal = propose(["data"])
    assert next(iter(proposal.facts["languages"])) == "de"
    assert "language:language=de" in proposal.facts["scorers"]


def test_texts_too_short_for_a_language_are_not_taken_for_a_missing_extra(data):
    pytest.importorskip("py3langid")
    pl.DataFrame({"text": ["Hello world, this is one row."]}).write_parquet(data / "a.parquet")
    (line,) = [line for line in propose(["data"]).lines if line.startswith("languages")]
    assert line == "languages: not looked at. No text has 50 bytes, and the language of a shorter one is not sure"


def test_vectors_alone(data, cli):
    vectors = [[float((i * j) % 7), 1.0, float(j)] for i, j in zip(range(200), range(200), strict=True)]
    pl.DataFrame({"emb.x": pl.Series(vectors, dtype=pl.Array(pl.Float32, 3))}).write_parquet(data / "v.parquet")
    assert cli("run", "--init", "data").code == 0
    done = cli("run", "recipe.toml", "--out", "out")
    assert done.code == 0, done.err


def test_nothing_to_read(data):
    with pytest.raises(SchemaError):
        propose(["data"])
    pl.DataFrame({"n": [1, 2]}).write_parquet(data / "n.parquet")
    with pytest.raises(SchemaError, match="no column holds texts, and none vectors"):
        propose(["data"])
    (data / "n.parquet").write_bytes(b"")
    with pytest.raises(SchemaError):
        propose(["data"])


@pytest.mark.skipif(not HAS_COLUMNS, reason="jobs read no columns under other names yet")
def test_the_commands_of_a_recipe_read_the_same_columns(data, cli):
    rows = [
        {"Question, here": f"What is {i}?", "answer": prose(i), "Doc ID": f"d{i}", "meta": {"domain": "x"}}
        for i in range(20)
    ]
    (data / "qa.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    Path("recipe.toml").write_text(
        '[data]\npaths = ["data"]\njoin = ["Question, here", "answer"]\n'
        'columns = { id = \'"Doc ID"\', source = "meta.domain" }\n[[score]]\nscorer = "length"\n'
    )
    shown = cli("run", "recipe.toml", "--out", "out", "--dry-run").out
    assert cli("run", "recipe.toml", "--out", "out").code == 0
    by_recipe = tree(Path("out/scores"))
    Path("out").rename("first")
    (command,) = [line.strip() for line in shown.splitlines() if line.startswith("    ")]
    assert cli(*shlex.split(command)[1:]).code == 0
    by_command = tree(Path("out/scores"))
    name = "qa.jsonl.scores.parquet"
    assert by_command[name] == by_recipe[name]
    assert pl.read_parquet(Path("out/scores") / name)["id"].to_list() == [f"d{i}" for i in range(20)]


@pytest.mark.skipif(not HAS_COLUMNS, reason="jobs read no columns under other names yet")
def test_names_with_spaces_are_quoted(data, cli):
    frame = pl.DataFrame({"Doc ID": [f"d{i}" for i in range(40)], "Raw, Content": [prose(i) for i in range(40)]})
    frame.write_parquet(data / "a.parquet")
    assert cli("run", "--init", "data").code == 0
    done = cli("run", "recipe.toml", "--out", "out")
    assert done.code == 0, done.err
    assert pl.read_parquet("out/scores/a.parquet.scores.parquet")["id"][0] == "d0"
