"""Turn the options of `prune` into a rule.

In: options as written, and the score files. Out: a `Rule`, and for ``auto`` the reasons for what it chose.
Which end of a score a rule keeps follows from what the score means, never from its name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from curate.description import describe
from curate.engines import Engine
from curate.errors import SchemaError, first_few
from curate.pruning import auto_rule, balance
from curate.pruning.auto_rule import RuleAdvice
from curate.pruning.rules import DIFFICULTIES, ENDS, Rule
from curate.tables import batches, meanings, readers
from curate.tables.meanings import Declaration
from curate.tables.shards import Shard

TEMPERATURE = "2"  # standard deviations of the score: the draw favours high scores but also includes low ones
# Drawing by exp(log weight) is the resampling of DSIR (Xie et al. 2023, arXiv 2302.03169, section 3): T = 1, unscaled.
LOG_WEIGHT_TEMPERATURE = "raw:1"
WITHOUT_MEANING = ("middle", "stratified", "threshold", "sample")  # rules that any score serves


@dataclass(frozen=True)
class RuleOptions:
    """The options that say which rows are kept, as they are written on the command line.

    If ``rule`` or ``temperature`` is empty, the score decides it. ``meaning`` holds the meanings that the user gives,
    by the name of the score. ``dimension`` and ``embedding`` are for the rule ``auto`` only.
    """

    by: str
    keep: float
    rule: str = ""
    balance: str = "none"
    trim: str = "0"
    temperature: str = ""
    recall: Mapping[str, float] | None = None
    dimension: float | None = None
    embedding: str = ""
    meaning: Mapping[str, str] | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """Return the short name of the score, without ``score.``, as in ``--meaning``."""
        return self.by.removeprefix("score.")


def choose(options: RuleOptions, shards: Sequence[Shard], engine: Engine) -> tuple[RuleAdvice | None, Rule]:
    """Return the rule that the options name, or the default rule of the score.

    ``auto`` becomes the rule that it chooses, and its advice comes with it; other rules come without advice.

    Raises:
        SchemaError: if an option cannot be read, or the rule does not suit the meaning of the score. A difficulty score
            without a rule is also an error; the message says what ``auto`` advises.
    """
    _check_score(shards, options.by)
    declaration = declared(options, shards)
    if options.rule:
        rule = read_rule(options, declaration)
        _check_meaning(rule, options, shards)
        return _with_advice(options, rule, shards, engine)
    if declaration.meaning == "quality":
        return _with_advice(options, read_rule(replace(options, rule="top"), declaration), shards, engine)
    if declaration.meaning is None:
        raise SchemaError(_not_recorded(options, shards))
    raise SchemaError(_without_rule(options, read_rule(replace(options, rule="auto"), declaration), shards, engine))


def declared(options: RuleOptions, shards: Sequence[Shard]) -> Declaration:
    """Return the meaning of the score to prune by. A meaning from the user overrides the one in the files.

    Raises:
        SchemaError: if a name of ``--meaning`` is not a column, or its meaning is not one of the three.
    """
    declaration = meanings.recorded(shards).get(options.by, Declaration())
    present = batches.columns(shards[0])
    for name, word in (options.meaning or {}).items():
        meaning = meanings.checked(word, f"--meaning {name}={word}")
        column = name if name in present else f"score.{name}"
        if column not in present:
            scores = [column for column in present if column.startswith("score.")]
            raise SchemaError(
                f"--meaning {name}: {shards[0].path} has no such score; it has {first_few(scores, near=name)}"
            )
        if column == options.by:
            declaration = replace(declaration, meaning=meaning)
    return declaration


def read_rule(options: RuleOptions, declaration: Declaration) -> Rule:
    """Read the options into a rule, which may still be ``auto``. ``declaration`` describes the score.

    Raises:
        SchemaError: if an option cannot be read, or does not fit the rule.
    """
    if ":" in options.trim:
        raise SchemaError(
            f"--trim {options.trim!r}: write only a share, such as 0.1. The meaning of the score says which end is "
            "hard; --meaning can change it"
        )
    default = LOG_WEIGHT_TEMPERATURE if declaration.log_weight else TEMPERATURE
    unit, _, number = (options.temperature or default).rpartition(":")
    if unit not in ("", "raw"):
        raise SchemaError(
            f"--temperature {options.temperature!r}: write a number of standard deviations, as in 2, or raw:NUMBER"
        )
    groups = balance.parse(options.balance)
    if options.recall and groups.how != "recall":
        raise SchemaError("--recall is for --balance label:recall only. Leave it out, or give that balance")
    return Rule(
        name=options.rule,
        keep=options.keep,
        balance=groups,
        meaning=declaration.meaning,
        trim=_number("--trim", options.trim),
        temperature=_number("--temperature", number),
        raw=unit == "raw",
        recall=options.recall,
        seed=options.seed,
    )


def sentence(rule: Rule, by: str) -> str:
    """Return a sentence that says which end of the score ``by`` a rule keeps, and what the score means."""
    what = meanings.described(rule.meaning) if rule.meaning else "a score of no recorded meaning"
    score = f"{by}, {what}"
    if rule.name in ("top", *ENDS):
        text = f"{rule.name} keeps the {'highest' if rule.sign < 0 else 'lowest'} values of {score}"
    elif rule.name == "sample":
        end, unit = "high" if rule.temperature > 0 else "low", "" if rule.raw else " standard deviations"
        text = f"sample favours {end} values of {score}, at temperature {rule.temperature:g}{unit}"
    elif rule.name == "threshold":
        text = f"threshold keeps values of at least {rule.keep:g} of {score}"
    elif rule.name == "middle":
        text = f"middle keeps the values nearest the median of {score}"
    else:
        text = f"{rule.name} keeps values from the whole range of {score}"
    if rule.trim:
        hard_end = "highest" if rule.harder > 0 else "lowest"
        text += f"; the hardest {100 * rule.trim:g} %, the {hard_end} values, are dropped first"
    return text


def group_column(rule: Rule, shards: Sequence[Shard]) -> str:
    """Return the column of the groups of a rule; "" for one group of all rows."""
    if rule.balance.column:
        return balance.resolve(rule.balance, shards)
    # Without a balance, groups change no rule but `stratified`. Counting by source saves a reading for the guard.
    return "" if rule.name == "stratified" else "source"


def _check_score(shards: Sequence[Shard], by: str) -> None:
    """Refuse a column that is missing or has no meaningful order: text, a vector or the number of a cluster."""
    batches.require(shards[0], (by,))
    kind = batches.columns(shards[0])[by]
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)) or by.startswith("cluster."):
        raise SchemaError(
            f"--by {by}: {shards[0].path} has it as {kind}, which is not a score. Name a column such as score.length"
        )


def _check_meaning(rule: Rule, options: RuleOptions, shards: Sequence[Shard]) -> None:
    """Check that the rule and the option --trim accept a score of this meaning."""
    needs = [f"--rule {rule.name} needs a hardness or easiness score"] if rule.name in (*ENDS, "auto") else []
    needs += ["--trim needs a hardness or easiness score"] if rule.trim else []
    if rule.meaning is None and (needs or rule.name == "top"):
        need = needs[0] if needs else "--rule top needs a quality score"
        raise SchemaError(f"{need}, and {_not_recorded(options, shards)}")
    if needs and rule.meaning not in DIFFICULTIES:
        assert rule.meaning is not None
        raise SchemaError(
            f"{needs[0]}, and {options.by} is {meanings.described(rule.meaning)}. "
            f"{'Leave it out' if needs[0].startswith('--trim') else 'Use --rule top'}; or give --meaning "
            f"{options.name}=hardness if high is harder, {options.name}=easiness if high is easier"
        )
    if rule.name == "top" and rule.meaning in DIFFICULTIES:
        raise SchemaError(
            f"--rule top needs a quality score, and {options.by} is {meanings.described(rule.meaning)}. Use --rule "
            f"hard, easy or auto; or give --meaning {options.name}=quality if high is better"
        )


def _not_recorded(options: RuleOptions, shards: Sequence[Shard]) -> str:
    """Return which score files do not record the meaning of the score, or record others, and what to write."""
    groups = meanings.by_file(shards, options.by)
    unrecorded = groups.pop(None, [])
    if len(unrecorded) == len(shards):
        problem = f"the score files do not record what a high {options.by} means"
    elif unrecorded:
        problem = (
            f"{len(unrecorded)} of the {len(shards)} score files, such as {unrecorded[0].path}, do not record what a "
            f"high {options.by} means"
        )
    else:
        records = [f"{files[0].path} says {meaning}" for meaning, files in groups.items()]
        problem = f"the score files do not agree on what a high {options.by} means: {', '.join(records)}"
    return (
        f"{problem}. Give --meaning {options.name}=MEANING, where MEANING is {meanings.choices()}. The rules "
        f"{', '.join(WITHOUT_MEANING[:-1])} and {WITHOUT_MEANING[-1]} need no meaning (--trim does)"
    )


def _without_rule(options: RuleOptions, auto: Rule, shards: Sequence[Shard], engine: Engine) -> str:
    """Return the error for a difficulty score without a rule: what ``auto`` advises, or what it needs to advise."""
    assert auto.meaning is not None
    what = f"{options.by} is {meanings.described(auto.meaning)}, and it has no default rule"
    try:
        advice = _advice(options, auto, shards, engine)
    except SchemaError as error:
        return f"{what}. Give --rule hard or easy. To choose between them, {error}"
    return (
        f"{what}. auto advises {advice.choice}: {advice.reason}. Give --rule {advice.choice}, auto or another "
        "(`curate list rules`)"
    )


def _with_advice(
    options: RuleOptions, rule: Rule, shards: Sequence[Shard], engine: Engine
) -> tuple[RuleAdvice | None, Rule]:
    """Replace ``auto`` by the rule that it chooses; return any other rule as it is, without advice."""
    if rule.name == "auto":
        advice = _advice(options, rule, shards, engine)
        return advice, replace(rule, name=advice.choice)
    if options.dimension is not None or options.embedding:
        flag = "--dimension" if options.dimension is not None else "--embedding"
        raise SchemaError(f"{flag} is for --rule auto, not for {rule.name!r}. Leave it out")
    return None, rule


def _advice(options: RuleOptions, rule: Rule, shards: Sequence[Shard], engine: Engine) -> RuleAdvice:
    """Return what ``auto`` chooses, by the rows and the dimension of the data."""
    dimension, embedding = options.dimension, options.embedding
    if dimension is None:
        embedding = _vector_column(shards, embedding)
        dimension = describe.dimension(shards, embedding, seed=rule.seed, engine=engine)
    elif embedding:
        raise SchemaError("--dimension and --embedding exclude each other: the dimension is estimated from the vectors")
    # Score files are Parquet, so their footers know the rows.
    rows = sum(readers.head(shard).rows or 0 for shard in shards)
    return auto_rule.advise(rows, dimension, rule.keep, estimated_from=embedding)


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SchemaError(f"{flag} {text!r} is not a number") from None


def _vector_column(shards: Sequence[Shard], wanted: str) -> str:
    """Return the column of vectors in score files: the one that was named, or the only one."""
    present = [name for name in batches.columns(shards[0]) if name.startswith("emb.")]
    if wanted in present or (not wanted and len(present) == 1):
        return wanted or present[0]
    columns = f"the score files have {first_few(present)}" if present else "the score files have no vectors"
    problem = f"{wanted!r} is not there" if wanted else "--rule auto needs the intrinsic dimension of the data"
    raise SchemaError(
        f"{problem}: {columns}. Give --embedding COLUMN, score with --scorer embedding too, or give --dimension D "
        "(`curate describe` estimates it)"
    )
