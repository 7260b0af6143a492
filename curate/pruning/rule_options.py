"""Turn the options of `prune` into a rule.

In: options as written, and the score files. Out: a `Rule`, and for ``auto`` the reasons for what it chose.
Which end of a score a rule keeps follows from what the score means, never from its name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa

from curate.engines import Engine
from curate.errors import SchemaError, first_few
from curate.pruning import balance
from curate.pruning.budgets import caps
from curate.pruning.budgets.budget import FLAGS, Unit
from curate.pruning.budgets.caps import Cap
from curate.pruning.eligible import Eligible
from curate.pruning.rules import RULES, Rule, rule_class
from curate.pruning.rules._rule import DIFFICULTIES
from curate.pruning.rules._unranked import Unranked
from curate.pruning.rules.auto import Auto
from curate.tables import batches, meanings
from curate.tables.meanings import Declaration
from curate.tables.shards import Shard

if TYPE_CHECKING:
    from curate.pruning.auto_rule import RuleAdvice

TEMPERATURE = "2"  # standard deviations of the score: the draw favours high scores but also includes low ones
# Drawing by exp(log weight) is the resampling of DSIR (Xie et al. 2023, arXiv 2302.03169, section 3): T = 1, unscaled.
LOG_WEIGHT_TEMPERATURE = "raw:1"


@dataclass(frozen=True)
class RuleOptions:
    """The options that say which rows are kept, as they are written on the command line.

    If ``rule`` or ``temperature`` is empty, the score decides it. ``meaning`` holds the meanings that the user gives,
    by the name of the score. ``dimension`` and ``embedding`` are for the rule ``auto`` only. At most one of ``keep``,
    ``keep_rows`` and ``keep_tokens`` is given. ``cap`` holds the caps, in the order in which they apply.
    """

    by: str = ""
    keep: float | None = None
    rule: str = ""
    balance: str = "none"
    trim: str = "0"
    temperature: str = ""
    recall: Mapping[str, float] | None = None
    dimension: float | None = None
    embedding: str = ""
    meaning: Mapping[str, str] | None = None
    seed: int = 0
    keep_rows: float | None = None
    keep_tokens: float | None = None
    cap: Sequence[str] = field(default=())

    @property
    def caps(self) -> tuple[Cap, ...]:
        """Return the caps."""
        return caps.parse(self.cap)

    @property
    def amounts(self) -> dict[Unit, float]:
        """Return the options that say how much is kept, by what they count: at most one.

        Raises:
            SchemaError: if there are several.
        """
        amounts: dict[Unit, float | None] = {"share": self.keep, "rows": self.keep_rows, "tokens": self.keep_tokens}
        present = {unit: float(amount) for unit, amount in amounts.items() if amount is not None}
        if len(present) > 1:
            raise SchemaError(f"{' and '.join(FLAGS[unit] for unit in present)} exclude each other. Give one of them")
        return present

    @property
    def name(self) -> str:
        """Return the short name of the score, without ``score.``, as in ``--meaning``."""
        return self.by.removeprefix("score.")


def is_ranked(options: RuleOptions, *, required: bool) -> bool:
    """Return whether there is a ranked decision. ``required`` says that there are requirements.

    Without a ranked decision, all rows that meet the requirements are kept.

    Raises:
        SchemaError: if an option belongs to a ranked decision, and nothing asks for one.
    """
    if options.by or options.amounts or options.caps or not required:
        return True
    default = RuleOptions(seed=options.seed)
    names = ("rule", "balance", "trim", "temperature", "recall", "dimension", "embedding", "meaning")
    if unused := [name for name in names if getattr(options, name) != getattr(default, name)]:
        raise SchemaError(f"--{unused[0]} needs --by: without it, all rows that meet --require are kept")
    return False


def check(options: RuleOptions) -> None:
    """Check the options of a ranked decision as far as they tell by themselves: it needs no score files.

    Raises:
        SchemaError: if an option cannot be read, or two of them contradict each other.
    """
    balance.parse(options.balance)
    if options.rule and not options.by:
        raise SchemaError(f"--rule {options.rule} ranks rows by a score. Give --by, such as --by score.length")
    amounts, capped = options.amounts, options.caps
    if amounts or capped:
        return
    if options.by:
        raise SchemaError(
            f"--by {options.by} ranks all rows, and nothing says how many to keep. Give --keep, --keep-rows or "
            "--keep-tokens"
        )
    raise SchemaError(
        "nothing says which rows to keep. Give --require; --by with --keep, --keep-rows or --keep-tokens; or --cap"
    )


def choose(
    options: RuleOptions, shards: Sequence[Shard], engine: Engine, eligible: Eligible | None = None
) -> "tuple[RuleAdvice | None, Rule]":
    """Return the rule that the options name, or the default rule of the score.

    ``auto`` counts only the rows that are eligible. It estimates the dimension from vectors of all rows.

    ``auto`` becomes the rule that it chooses, and its advice comes with it; other rules come without advice.

    Raises:
        SchemaError: if an option cannot be read, or the rule does not suit the meaning of the score. A difficulty score
            without a rule is also an error; the message says what ``auto`` advises.
    """
    check(options)
    caps.check_columns(options.caps, shards)
    if not options.by:
        # Rows are kept by the hash of their ids.
        groups = balance.parse(options.balance)
        return None, Unranked.of_amounts(options.amounts, balance=groups, recall=options.recall, seed=options.seed)
    _check_score(shards, options.by)
    declaration = declared(options, shards)
    if options.rule:
        rule = read_rule(options, declaration)
        _check_meaning(rule, options, shards)
        return _with_advice(options, rule, shards, engine, eligible)
    if declaration.meaning == "quality":
        return _with_advice(options, read_rule(replace(options, rule="top"), declaration), shards, engine, eligible)
    if declaration.meaning is None:
        raise SchemaError(_not_recorded(options, shards))
    auto = read_rule(replace(options, rule="auto"), declaration)
    raise SchemaError(_without_rule(options, auto, shards, engine, eligible))


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
    return rule_class(options.rule).of_amounts(
        options.amounts,
        balance=groups,
        meaning=declaration.meaning,
        trim=_number("--trim", options.trim),
        temperature=_number("--temperature", number),
        raw=unit == "raw",
        recall=options.recall,
        seed=options.seed,
    )


def group_column(rule: Rule, shards: Sequence[Shard]) -> str:
    """Return the column of the groups of a rule; "" for one group of all rows."""
    if rule.balance.column:
        return balance.resolve(rule.balance, shards)
    # Without a balance, groups change no rule but `stratified`. Counting by source saves a reading for the guard.
    return "" if rule.one_group else "source"


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
    if not rule.serves and not rule.trim:
        return
    serves = rule.serves or DIFFICULTIES
    trims = f"--{'trim' if not rule.serves else f'rule {rule.name}'}"
    need = f"{trims} needs a {' or '.join(serves)} score"
    if rule.meaning is None:
        raise SchemaError(f"{need}, and {_not_recorded(options, shards)}")
    if rule.meaning in serves:
        return
    what = f"{need}, and {options.by} is {meanings.described(rule.meaning)}"
    if serves == DIFFICULTIES:
        raise SchemaError(
            f"{what}. {'Use --rule top' if rule.serves else 'Leave it out'}; or give --meaning "
            f"{options.name}=hardness if high is harder, {options.name}=easiness if high is easier"
        )
    raise SchemaError(
        f"{what}. Use --rule hard, easy or auto; or give --meaning {options.name}=quality if high is better"
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
    without = [name for name, kind in RULES.items() if not kind.serves]
    return (
        f"{problem}. Give --meaning {options.name}=MEANING, where MEANING is {meanings.choices()}. The rules "
        f"{', '.join(without[:-1])} and {without[-1]} need no meaning (--trim does)"
    )


def _without_rule(
    options: RuleOptions, auto: Rule, shards: Sequence[Shard], engine: Engine, eligible: Eligible | None
) -> str:
    """Return the error for a difficulty score without a rule: what ``auto`` advises, or what it needs to advise."""
    assert auto.meaning is not None
    what = f"{options.by} is {meanings.described(auto.meaning)}, and it has no default rule"
    try:
        advice = _advice(options, auto, shards, engine, eligible)
    except SchemaError as error:
        return f"{what}. Give --rule hard or easy. To choose between them, {error}"
    return (
        f"{what}. auto advises {advice.choice}: {advice.reason}. Give --rule {advice.choice}, auto or another "
        "(`curate list rules`)"
    )


def _with_advice(
    options: RuleOptions, rule: Rule, shards: Sequence[Shard], engine: Engine, eligible: Eligible | None
) -> "tuple[RuleAdvice | None, Rule]":
    """Replace ``auto`` by the rule that it chooses; return any other rule as it is, without advice."""
    if isinstance(rule, Auto):
        advice = _advice(options, rule, shards, engine, eligible)
        return advice, rule.chosen(advice.choice)
    if options.dimension is not None or options.embedding:
        flag = "--dimension" if options.dimension is not None else "--embedding"
        raise SchemaError(f"{flag} is for --rule auto, not for {rule.name!r}. Leave it out")
    return None, rule


def _advice(
    options: RuleOptions, rule: Rule, shards: Sequence[Shard], engine: Engine, eligible: Eligible | None
) -> "RuleAdvice":
    """Return what ``auto`` chooses."""
    # The theory behind the advice takes half a second to load, and most calls do without it.
    from curate.pruning import auto_advice

    dimension, embedding = options.dimension, options.embedding
    return auto_advice.advice(rule, shards, dimension=dimension, embedding=embedding, engine=engine, eligible=eligible)


def _number(flag: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SchemaError(f"{flag} {text!r} is not a number") from None
