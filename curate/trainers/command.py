"""Your own training program as a trainer. It reads one JSON object and prints one."""

import json
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from subprocess import PIPE

from curate import processes
from curate.errors import CurateError
from curate.pool.pool import Budget

END_SECONDS = 0.5  # what the program has to end by itself after Ctrl-C, before it is killed


@dataclass(frozen=True)
class Command:
    """Runs your own program, once for every training.

    The program reads one JSON object from standard input, with the keys weights, tokens, params, seed and unique. The
    last line that it prints must be a JSON object of losses in nats per token by eval.

    Options:
        command: the program and its arguments, all that follows "command:"; it is split into words as a shell does, but
            no shell runs it (required).
    """

    command: str

    def train(
        self, weights: Mapping[str, float], budget: Budget, *, seed: int, unique: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Run the program once and return its losses.

        Raises:
            CurateError: the program cannot be started, fails, or does not print losses last; the message quotes it.
        """
        request = {"weights": dict(weights), "tokens": budget.tokens, "params": budget.params, "seed": seed}
        request["unique"] = dict(unique or {})
        try:
            # In a process group of its own, so that it can be ended with all that it started.
            program = subprocess.Popen(
                shlex.split(self.command), stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, process_group=0
            )
        except OSError as error:
            raise CurateError(f"trainer {self.command!r} cannot be started: {error}") from None
        with program:
            try:
                stdout, stderr = program.communicate(json.dumps(request))
            except BaseException:
                processes.end([program.pid], seconds=END_SECONDS)
                raise
        lines = stdout.strip().splitlines()
        if program.returncode:
            last = (stderr.strip().splitlines() or ["nothing on stderr"])[-1]
            raise CurateError(f"trainer {self.command!r} exited with {program.returncode}: {last}")
        try:
            return {str(k): float(v) for k, v in json.loads(lines[-1]).items()}
        except (IndexError, ValueError, AttributeError, TypeError):
            printed = lines[-1] if lines else "nothing"
            raise CurateError(
                f"trainer {self.command!r} must print {{eval: loss}} as JSON last; it said {printed!r}"
            ) from None
