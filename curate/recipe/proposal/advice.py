"""Propose scorers and requirements for texts: each with its reason, its source, and what it would do to the sample.

In: texts of a sample and what was measured of them. Out: scorers and requirements in the order of a recipe.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from curate import open_sets
from curate.pruning.requirements import requirement
from curate.recipe.proposal.texts import TextFacts
from curate.scoring import specs

# A requirement that removes more of the sample than this is written as a comment: it may be made for other texts.
MOST_REMOVED = 0.5
LEAST_LANGUAGE = 0.5  # share of the commonest language; below it the data are taken to be of several languages
FINEWEB_LANGUAGE = 0.65  # FineWeb's threshold, Penedo et al. 2024, arXiv 2406.17557, section 3.3
SHORT_BYTES = 300  # median size below which rules for web pages, such as 50 words, do not suit the texts
TRIED_BYTES = 4 << 20  # of texts that requirements are tried on: all scorers together take a few seconds for them
NEAR_COPY = 0.25  # 1 minus the Jaccard similarity .75 of Lee et al. 2021, arXiv 2107.06499


@dataclass(frozen=True)
class ScorerAdvice:
    """A scorer with its options, and the reasons for it, one a comment line. ``advised`` is False for a comment only.

    ``requirement`` is the SQL condition that it serves, ``source`` says where the threshold is from, and ``removed`` is
    the share of the sample that fails it; None where only all rows together tell.
    """

    scorer: str
    why: str
    options: Mapping[str, str | int | float] = field(default_factory=dict)
    requirement: str = ""
    source: str = ""
    removed: float | None = None

    @property
    def is_active(self) -> bool:
        """Return whether the requirement is applied, and not only written as a comment."""
        return bool(self.requirement) and (self.removed is None or self.removed <= MOST_REMOVED)


def advise(texts: pl.Series, facts: TextFacts, *, chat: bool) -> list[ScorerAdvice]:
    """Return the scorers for texts. A scorer of the list that this version of curate does not have is left out.

    ``chat`` says that the texts are conversations, for which rules for web pages were not made.
    """
    known_scorers = set(open_sets.names("scorers"))
    # Evenly spread, since files may be sorted.
    every = max(1, -(-int(texts.str.len_bytes().sum()) // TRIED_BYTES))
    frame = pl.DataFrame({"text": texts.gather_every(every)})
    return [_tried(advice, frame) for advice in _candidates(facts, chat=chat) if advice.scorer in known_scorers]


def _candidates(facts: TextFacts, *, chat: bool) -> Iterator[ScorerAdvice]:
    language = facts.language
    is_english = language is not None and language[0] == "en" and language[1] >= LEAST_LANGUAGE
    suits_pages = not chat and not facts.are_code and facts.median_bytes >= SHORT_BYTES
    if facts.are_code or facts.median_bytes < SHORT_BYTES:
        why = "code" if facts.are_code else f"short ({facts.median_bytes:.0f} bytes at the median)"
        yield ScorerAdvice(
            "length",
            f"to look at the sizes of the texts. They are {why}, so no smallest size is proposed but one character",
            requirement="score.length >= 1",
            source="an empty text teaches nothing",
        )
    else:
        yield ScorerAdvice(
            "length",
            f"very short texts are mostly remains of pages. The median text has {facts.median_bytes:,.0f} bytes",
            {"unit": "word"},
            "score.length >= 50 AND score.length <= 100000",
            "Gopher keeps 50 to 100,000 words (Rae et al. 2021, arXiv 2112.11446, Table A1)",
        )
    if language is not None and not facts.are_code:
        code, share = language
        if share >= LEAST_LANGUAGE:
            yield ScorerAdvice(
                "language",
                f"{share:.1%} of the texts are in the language {code!r}; score.language is the probability of it",
                {"language": code},
                f"score.language >= {FINEWEB_LANGUAGE}",
                "FineWeb keeps texts from 0.65 (Penedo et al. 2024, arXiv 2406.17557), by another model of languages",
            )
    yield ScorerAdvice(
        "repetition",
        "texts that repeat their lines or phrases are mostly menus, lists and logs",
        requirement="score.repetition >= 0",
        source="below 0, more is repeated than Gopher allows (Rae et al. 2021, arXiv 2112.11446, Table A1)",
    )
    if is_english and suits_pages:
        yield ScorerAdvice(
            "gopher",
            "the texts are English prose, for which Gopher's rules were made",
            requirement="score.gopher >= 1",
            source="1 is a text that passes all rules (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1)",
        )
        yield ScorerAdvice(
            "fineweb",
            "the texts are English prose, for which FineWeb's own filters were made",
            requirement="score.fineweb >= 1",
            source="1 is a text that passes all filters (Penedo et al. 2024, arXiv 2406.17557, section 3.6)",
        )
    yield ScorerAdvice(
        "duplicates",
        f"{facts.copies:.1%} of the texts in the sample are exact copies of another; in all data there may be more",
        requirement=f"score.duplicates >= {NEAR_COPY}",
        source="of texts with a Jaccard similarity above 0.75 one stays (Lee et al. 2021, arXiv 2107.06499)",
    )


def _tried(advice: ScorerAdvice, frame: pl.DataFrame) -> ScorerAdvice:
    """Return the advice with the share of the sample that fails its requirement, if a batch of texts can tell."""
    if not advice.requirement or specs.learns(advice.scorer):
        return advice
    scorer = specs.build(spec(advice))
    if not set(scorer.needs) <= {"text"}:
        return advice
    passes = requirement.expression(advice.requirement, tuple(scorer.schema)).values(scorer(frame))
    share = 1 - float(passes.fill_null(False).mean() or 0)  # type: ignore[arg-type]
    return ScorerAdvice(advice.scorer, advice.why, advice.options, advice.requirement, advice.source, share)


def spec(advice: ScorerAdvice) -> str:
    """Return the scorer as the command line names it."""
    options = ",".join(f"{key}={value}" for key, value in advice.options.items())
    return f"{advice.scorer}:{options}" if options else advice.scorer
