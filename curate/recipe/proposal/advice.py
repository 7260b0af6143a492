"""Propose scorers and requirements for texts: each with its reason, its source, and what it would do to the sample.

In: texts of a sample and what was measured of them. Out: scorers and requirements in the order of a recipe.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from curate import open_sets
from curate.pruning.requirements import requirement
from curate.recipe.proposal.texts import TextFacts, code_like
from curate.scoring import specs

# A requirement that removes more of the sample than this is written as a comment: it may be made for other texts.
MOST_REMOVED = 0.5
MOST_REMOVED_TOGETHER = 0.9  # of the sample by all requirements: a recipe that leaves almost nothing is of no use
LEAST_CODE = 0.05  # share of texts that look like code; a requirement is then judged on them too
# Of the texts that look like code. All thresholds are from papers on prose, and say nothing of code.
MOST_CODE_REMOVED = 0.1
FEW_ROWS = 1000  # below it shares of the sample are known within 3 percentage points at best, and rows are scarce
LEAST_LANGUAGE = 0.5  # share of the commonest language; below it the data are taken to be of several languages
FINEWEB_LANGUAGE = 0.65  # FineWeb's threshold, Penedo et al. 2024, arXiv 2406.17557, section 3.3
SHORT_BYTES = 300  # median size below which rules for web pages, such as 50 words, do not suit the texts
TRIED_BYTES = 4 << 20  # of texts that requirements are tried on: all scorers together take a few seconds for them
NEAR_COPY = 0.25  # 1 minus the Jaccard similarity .75 of Lee et al. 2021, arXiv 2107.06499


@dataclass(frozen=True)
class ScorerAdvice:
    """A scorer with its options, and the reasons for it, one a comment line. ``advised`` is False for a comment only.

    ``requirement`` is the SQL condition that it serves, ``source`` says where the threshold is from, and ``removed`` is
    the share of the sample that fails it; None where only all rows together tell. ``removed_code`` is that share of the
    texts that look like code; None if these are few. ``off`` says why the requirement is only a comment.
    """

    scorer: str
    why: str
    options: Mapping[str, str | int | float] = field(default_factory=dict)
    requirement: str = ""
    source: str = ""
    removed: float | None = None
    removed_code: float | None = None
    off: str = ""

    @property
    def is_active(self) -> bool:
        """Return whether the requirement is applied, and not only written as a comment."""
        return bool(self.requirement) and not self.off


def advise(texts: pl.Series, facts: TextFacts, *, chat: bool) -> list[ScorerAdvice]:
    """Return the scorers for texts. A scorer of the list that this version of curate does not have is left out.

    ``chat`` says that the texts are conversations, for which rules for web pages were not made.
    """
    known_scorers = set(open_sets.names("scorers"))
    # Evenly spread, since files may be sorted.
    every = max(1, -(-int(texts.str.len_bytes().sum()) // TRIED_BYTES))
    frame = pl.DataFrame({"text": texts.gather_every(every)})
    code = code_like(frame["text"])
    candidates = [advice for advice in _candidates(facts, chat=chat) if advice.scorer in known_scorers]
    return _together([_tried(advice, frame, code) for advice in candidates])


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
        "to look at the texts that repeat most, such as tables of data and generated files"
        if facts.are_code
        else "texts that repeat their lines or phrases are mostly menus, lists and logs",
        requirement="score.repetition >= 0",
        source="below 0, more is repeated than Gopher allows (Rae et al. 2021, arXiv 2112.11446, Table A1)",
        off="Gopher's limits are for prose, and good code repeats more" if facts.are_code else "",
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


@dataclass(frozen=True)
class _Trial:
    """Advice, and which texts of the sample meet its requirement; None if a batch of texts cannot tell."""

    advice: ScorerAdvice
    passes: pl.Series | None = None


def _tried(advice: ScorerAdvice, frame: pl.DataFrame, code: pl.Series) -> _Trial:
    """Return the advice with the share of the sample that fails its requirement, if a batch of texts can tell.

    ``code`` (n,) says which texts look like code.
    """
    if not advice.requirement or specs.learns(advice.scorer):
        return _Trial(advice)
    scorer = specs.build(spec(advice))
    if not set(scorer.needs) <= {"text"}:
        return _Trial(advice)
    passes = requirement.expression(advice.requirement, tuple(scorer.schema)).values(scorer(frame)).fill_null(False)
    removed = 1 - float(passes.mean() or 0)  # type: ignore[arg-type]
    has_code = LEAST_CODE <= float(code.mean() or 0)  # type: ignore[arg-type]
    of_code = 1 - float(passes.filter(code).mean() or 0) if has_code else None  # type: ignore[arg-type]
    off = advice.off
    if not off and removed > MOST_REMOVED:
        off = "it would remove most of the data"
    elif not off and of_code is not None and of_code > MOST_CODE_REMOVED:
        off = (
            f"it would remove {of_code:.0%} of the texts that look like code. If code has a source of its own, write "
            f"it for the others: source = 'code' OR ({advice.requirement})"
        )
    return _Trial(replace(advice, removed=removed, removed_code=of_code, off=off), passes)


def _together(trials: Sequence[_Trial]) -> list[ScorerAdvice]:
    """Return the advice of all trials. If the requirements together leave almost nothing, the strictest are off."""
    advice = {trial.advice.scorer: trial.advice for trial in trials}
    passes = {
        trial.advice.scorer: trial.passes for trial in trials if trial.passes is not None and trial.advice.is_active
    }
    while passes and _share_removed(list(passes.values())) > MOST_REMOVED_TOGETHER:
        strictest = max(passes, key=lambda name: (advice[name].removed or 0, name))
        off = f"with the others it would remove over {MOST_REMOVED_TOGETHER:.0%} of the data"
        advice[strictest] = replace(advice[strictest], off=off)
        del passes[strictest]
    return list(advice.values())


def _share_removed(passes: Sequence[pl.Series]) -> float:
    met = pl.DataFrame({str(place): series for place, series in enumerate(passes)})
    return 1 - float(met.select(pl.all_horizontal(pl.all()).mean()).item() or 0)


def spec(advice: ScorerAdvice) -> str:
    """Return the scorer as the command line names it."""
    options = ",".join(f"{key}={value}" for key, value in advice.options.items())
    return f"{advice.scorer}:{options}" if options else advice.scorer


@dataclass(frozen=True)
class Suggestion:
    """Lines of a recipe that need a file or a choice of the user, and are written as comments.

    ``why`` says what they are for. ``scorer`` has ``options``, as lines of its table ``[[score]]``. ``before`` are the
    tables of scorers whose columns it reads, a tuple of lines each. ``requirements`` are conditions of ``require``, and
    ``prune`` are further lines of ``[prune]``.
    """

    scorer: str
    why: str
    options: tuple[str, ...] = ()
    before: tuple[tuple[str, ...], ...] = ()
    requirements: tuple[str, ...] = ()
    prune: tuple[str, ...] = ()


def suggest(facts: TextFacts | None, rows: int | None, labels: Sequence[str]) -> list[Suggestion]:
    """Return what the user may add. ``rows`` is the number of rows, if it is known; ``labels`` are the classes."""
    suggestions = []
    if facts is not None:
        suggestions += [
            Suggestion(
                "contamination",
                "benchmark texts in the data make a benchmark useless. Name the files of the benchmarks that you "
                "measure on. GPT-3 searched for 13 words in a row (Brown et al. 2020, arXiv 2005.14165, appendix C)",
                ('against = ["benchmarks/*.jsonl"]',),
                requirements=("score.contamination >= 1",),
            ),
            Suggestion(
                "classifier",
                "a classifier learns what you want from examples. Name files of good texts, such as 1,000 that you "
                "chose; the data themselves are the bad sample. DataComp-LM selected by such a classifier (Li et al. "
                "2024, arXiv 2406.11794)",
                ('good = ["good/*.jsonl"]',),
                prune=('by = "score.classifier"', "keep = 0.5"),
            ),
        ]
    if facts is not None and len(labels) > 1:
        few = rows is not None and rows < FEW_ROWS
        note = ". There are few rows, so look at those that it removes" if few else ""
        suggestions.append(
            Suggestion(
                "label_quality",
                f"the rows have {len(labels)} labels. To look for wrong ones, models are trained on parts of the data, "
                f"and say how likely each label is (Northcutt et al. 2021, arXiv 1911.00068){note}",
                before=(('scorer = "embedding"',), ('scorer = "dynamics"', "folds = 5")),
                requirements=("score.label_joint >= 1",),
            )
        )
    return suggestions
