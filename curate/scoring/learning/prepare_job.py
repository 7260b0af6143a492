"""Prepare the scorers of a job, and set the files aside from which they cannot learn.

In: a job, and the heads of its files. Out: the job with scorers that are ready to score.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from curate.engines import Engine
from curate.errors import SchemaError
from curate.scoring import run, specs
from curate.scoring.learning import corpus_parts, first_pass, learned
from curate.scoring.learning.failing_files import FilesFail
from curate.scoring.learning.first_pass import FirstPass
from curate.scoring.learning.learned_states import LearningInput
from curate.scoring.preflight import Preflight
from curate.scoring.scoring_job import ScoringJob
from curate.scoring.tasks.bundles import DEADLY_IN_A_ROW
from curate.tables.shards import Shard


def prepare(
    job: ScoringJob, heads: Preflight, bad: dict[str, str], todo: set[str], engine: Engine, max_bad: float
) -> tuple[run.ReadyJob, tuple[str, ...]]:
    """Return the job with scorers that are ready to score, and notes on what they learned.

    Shards that turn out to be bad are added to ``bad``. ``todo`` names the shards that are still to score. If a scorer
    cannot learn from the rows of a file, that file is set aside, and all scorers learn from the others.
    """
    if not any(map(specs.learns, job.specs)):
        built = tuple(map(specs.build, job.specs))
        return run.ReadyJob(job, heads, built), learned.notes(built)
    good = [shard for shard in job.shards if shard.relative not in bad]
    computed = first_pass.compute(job, heads, good, todo, engine)
    bad |= computed.bad
    # Learning may take hours: a job that loses too many lines stops before.
    computed.lost.check(max_bad)
    fresh = len(todo) == len(job.shards)
    compute_stage = partial(first_pass.materialise, engine, job.quarantine)
    # Files of which one is at fault, and files that ended their workers so far.
    alone, deaths = set[str](), 0
    while True:
        good = [shard for shard in good if shard.relative not in bad]
        if bad and not good:
            raise SchemaError(next(iter(bad.values())))
        learning = _learning_input(job, heads, computed, good, sorted(bad))
        parts = corpus_parts.cut(
            computed.tasks_of(good), learning.digests, heads.sizes, job.out, fresh=fresh, alone=alone
        )
        learning = replace(learning, parts=tuple(parts))
        try:
            scorers, parts_with_columns, notes = learned.prepare(learning, engine, compute_stage, fresh=fresh)
            return run.ReadyJob(job, heads, scorers, parts_with_columns), notes
        except FilesFail as failing:
            deaths += len(failing.bad) if failing.death else 0
            if failing.death and deaths >= DEADLY_IN_A_ROW:
                raise failing.death from None
            bad |= failing.bad
            alone |= failing.suspects
            learned.forget_learning_from(job.out, {*failing.bad, *failing.suspects})


def _learning_input(
    job: ScoringJob, heads: Preflight, computed: FirstPass, good: Sequence[Shard], aside: Sequence[str]
) -> LearningInput:
    """Return what scorers learn from, before it is cut into parts: the good shards without those set aside."""
    rows = [heads.heads[shard.relative].rows for shard in good]
    total = None if None in rows else sum(count for count in rows if count is not None)
    digests = {shard.relative: computed.digests[shard.relative] for shard in good}
    return LearningInput(job, tuple(good), digests, tuple(aside), total)
