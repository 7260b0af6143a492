"""Turn the options of `prune` into a rule.

In: options as written, and the score files. Out: a `Rule`, and for ``auto`` the reasons for what it chose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from curate.description import describe
from curate.errors import SchemaError
from curate.pruning import auto_rule, balance
from curate.pruning.auto_rule import RuleAdvice
from curate.pruning.rules import Rule
from curate.tables import batches, readers
from curate.tables.shards import Shard


@dataclass(frozen=True)
class RuleOptions:
    """The options that say which rows are kept, as they are written on the command line.

    ``dimension``, ``embedding`` and ``hard_end`` are for the rule ``auto`` only.
    """

    by: str
    keep: float
    rule: str
    balance: str
    trim: str
    temperature: str
    recall: Mapping[str, float] | None
    dimension: float | None
    embedding: str
    hard_end: str
    seed: int


def read_rule(options: RuleOptions) -> Rule:
    """Read the options into a rule, which may still be ``auto``.

    Raises:
        SchemaError: if an option cannot be read, or does not fit the rule.
    """
    end, _, share = options.trim.rpartition(":")
    if end not in ("", "low", "high"):
        raise SchemaError(
            f"--trim {options.trim!r}: write a share, as in 0.1, or low:0.1 where low scores are the hardest"
        )
    unit, _, number = options.temperature.rpartition(":")
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
        trim=_number("--trim", share),
        low=end == "low",
        temperature=_number("--temperature", number),
        raw=unit == "raw",
        recall=options.recall,
        seed=options.seed,
    )


def choose(options: RuleOptions, rule: Rule, shards: Sequence[Shard]) -> tuple[RuleAdvice | None, Rule]:
    """Replace ``auto`` by the rule that it chooses; any other rule is returned as it is, without advice.

    ``auto`` trims the hard end, unless ``trim`` names an end.

    Raises:
        SchemaError: if options of ``auto`` are given for another rule, or the dimension cannot be estimated.
    """
    if options.hard_end not in ("", "high", "low"):
        raise SchemaError(f"--hard-end {options.hard_end!r} must be high or low: which scores mark hard examples")
    dimension, embedding = options.dimension, options.embedding
    if rule.name != "auto":
        if dimension is not None or embedding or options.hard_end:
            flag = "--dimension" if dimension is not None else "--embedding" if embedding else "--hard-end"
            raise SchemaError(f"{flag} is for --rule auto, not for {rule.name!r}. Leave it out")
        return None, rule
    if dimension is None:
        embedding = _vector_column(shards, embedding)
        dimension = describe.dimension(shards, embedding, seed=rule.seed)
    elif embedding:
        raise SchemaError("--dimension and --embedding exclude each other: the dimension is estimated from the vectors")
    rows = sum(readers.head(shard).rows or 0 for shard in shards)
    advice = auto_rule.advise(rows, dimension, rule.keep, estimated_from=embedding)
    low_is_hard = (options.hard_end or ("low" if options.by in auto_rule.LOW_IS_HARD else "high")) == "low"
    # The rule `hard` keeps the highest scores, so it is the right one for the hard end only where high is hard.
    keeps_highest = (advice.choice == "hard") != low_is_hard
    trims_low = rule.low if ":" in options.trim else low_is_hard
    return advice, replace(rule, name="hard" if keeps_highest else "easy", low=trims_low)


def check_score(shards: Sequence[Shard], by: str) -> None:
    """Refuse a column whose order says nothing: text, a vector, the number of a cluster."""
    kind = readers.head(shards[0]).columns.get(by)
    numeric = kind is None or pa.types.is_floating(kind) or pa.types.is_integer(kind)
    if not numeric or (kind is not None and by.startswith("cluster.")):
        raise SchemaError(
            f"--by {by}: {shards[0].path} has it as {kind}, which is not a score. Name a column such as score.length"
        )


def group_column(rule: Rule, shards: Sequence[Shard]) -> str:
    """Return the column of the groups of a rule; "" for one group of all rows."""
    if rule.balance.column:
        return balance.resolve(rule.balance, shards)
    # Without a balance, groups change no rule but `stratified`. Counting by source saves a reading for the guard.
    return "" if rule.name == "stratified" else "source"


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
    columns = f"the score files have {', '.join(present)}" if present else "the score files have no vectors"
    problem = f"{wanted!r} is not there" if wanted else "--rule auto needs the intrinsic dimension of the data"
    raise SchemaError(
        f"{problem}: {columns}. Give --embedding COLUMN, score with --scorer embedding too, or give --dimension D "
        "(`curate describe` estimates it)"
    )
