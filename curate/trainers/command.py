"""Your own training program as a trainer: a JSON line in, a JSON line out."""

import json
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from curate.errors import CurateError
from curate.pool.pool import Budget


@dataclass(frozen=True)
class Command:
    """Runs ``command`` (split as a shell splits words, no shell). Standard input is one JSON object: weights, tokens,
    params, seed, unique. The last line it prints must be a JSON object, eval name -> loss in nats per token.
    """

    command: str

    def train(
        self, weights: Mapping[str, float], budget: Budget, *, seed: int, unique: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Run the program once; a non-zero exit or an unreadable last line is an error that quotes it."""
        request = {"weights": dict(weights), "tokens": budget.tokens, "params": budget.params, "seed": seed}
        request["unique"] = dict(unique or {})
        try:
            done = subprocess.run(
                shlex.split(self.command), input=json.dumps(request), capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise CurateError(f"trainer {self.command!r} cannot be started: {error}") from None
        lines = done.stdout.strip().splitlines()
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing on stderr"])[-1]
            raise CurateError(f"trainer {self.command!r} exited with {done.returncode}: {last}")
        try:
            return {str(k): float(v) for k, v in json.loads(lines[-1]).items()}
        except (IndexError, ValueError, AttributeError, TypeError):
            said = lines[-1] if lines else "nothing"
            raise CurateError(
                f"trainer {self.command!r} must print {{eval: loss}} as JSON last; it said {said!r}"
            ) from None
