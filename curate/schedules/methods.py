"""The methods of the job `schedule`: what each reads, what it needs, and the curriculum it makes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

from curate.errors import SchemaError
from curate.pool import baselines
from curate.pool.mixture_rules import MixtureLike, MixtureReader, MixtureRule
from curate.schedules import curricula
from curate.schedules.phases import Curriculum


@dataclass(frozen=True)
class MethodOptions:
    """The options of all methods; None for an option that was not set. See `curate.schedules.job.schedule`."""

    tau: float | None = None
    tau_then: float | None = None
    switch: float | None = None
    cap: float | None = None
    phases: Sequence[tuple[float, MixtureLike]] | None = None
    main: MixtureLike | None = None
    anneal: MixtureLike | None = None
    anneal_fraction: float | None = None
    total: MixtureLike | None = None
    late: Mapping[str, float] | None = None
    parts: int | None = None

    def present(self) -> dict[str, object]:
        """Return the options that were set, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        # An empty list of phases, or of pools to draw late, is no option.
        return {name: value for name, value in values.items() if value is not None and value != [] and value != {}}

    def mixtures(self) -> dict[str, MixtureLike]:
        """Return the mixtures among the options, by what names them in messages."""
        named = {"main": self.main, "anneal": self.anneal, "total": self.total}
        named |= {f"phase {i}": mixture for i, (_, mixture) in enumerate(self.phases or (), start=1)}
        return {name: mixture for name, mixture in named.items() if mixture is not None}


class WrongOption(SchemaError):
    """An option that a method does not read, or one that it lacks. ``option`` is "" where several would do."""

    def __init__(self, option: str, message: str) -> None:
        """Keep the option and the message apart, for a command line that names options in its own way."""
        super().__init__(f"{option}: {message}" if option else message)
        self.option, self.message = option, message


Result = tuple[Curriculum, tuple[str, ...]]  # a curriculum, and notes on it


def _temperature(options: MethodOptions, reader: MixtureReader, tokens: float) -> Result:
    tau = baselines.MT5_TAU if options.tau is None else options.tau
    return _constant(reader, tokens, MixtureRule("tau", tau)), ()


def _unimax(options: MethodOptions, reader: MixtureReader, tokens: float) -> Result:
    cap = baselines.UNIMAX_EPOCHS if options.cap is None else options.cap
    return _constant(reader, tokens, MixtureRule("unimax", cap)), baselines.cap_notes(reader.pools, tokens, cap)


def _constant(reader: MixtureReader, tokens: float, rule: MixtureRule) -> Curriculum:
    return curricula.constant(reader.pools, tokens, reader.shares(rule, tokens, "the mixture"))


def _cooldown(options: MethodOptions, reader: MixtureReader, tokens: float) -> Result:
    defaults = zip((options.tau, options.tau_then, options.switch), curricula.COOLDOWN, strict=True)
    first, then, switch = (default if value is None else value for value, default in defaults)
    curriculum = curricula.cooldown(reader.pools, tokens, tau_first=first, tau_then=then, switch=switch)
    rising = f"tau rises from {first:g} to {then:g}: falling did better (Li et al. 2024)"
    return curriculum, (rising,) if then > first else ()


def _piecewise(options: MethodOptions, reader: MixtureReader, tokens: float) -> Result:
    stages = options.phases or ()
    curricula.check_fractions([fraction for fraction, _ in stages])
    shares = [
        (fraction, reader.shares(mixture, fraction * tokens, f"phase {i}"))
        for i, (fraction, mixture) in enumerate(stages, start=1)
    ]
    return curricula.piecewise(reader.pools, tokens, shares), ()


def _ramp(options: MethodOptions, reader: MixtureReader, tokens: float) -> Result:
    first = reader.shares(options.main or {}, tokens, "--main")
    last = reader.shares(options.anneal or {}, tokens, "--anneal")
    parts = curricula.RAMP if options.parts is None else options.parts
    return curricula.ramp(reader.pools, tokens, first, last, parts=parts), ()


def _two_stage(options: MethodOptions, reader: MixtureReader, tokens: float) -> Result:
    fraction = curricula.ANNEAL if options.anneal_fraction is None else options.anneal_fraction
    curricula.check_inside(fraction, "the anneal fraction")
    lengths = {"main": 1 - fraction, "anneal": fraction, "total": 1.0}
    shares = {
        name: reader.shares(mixture, lengths[name] * tokens, f"--{name}")
        for name, mixture in _stages(options, has_plan=bool(reader.plans)).items()
    }
    if options.late:
        shares["anneal"] = curricula.late(shares["total"], options.late, fraction)
    # The stage that is not given is what remains of the total, so that every pool keeps its passes.
    if "main" not in shares:
        shares["main"] = curricula.rest(shares["total"], shares["anneal"], fraction)
    if "anneal" not in shares:
        shares["anneal"] = curricula.rest(shares["total"], shares["main"], 1 - fraction)
    return curricula.two_stage(reader.pools, tokens, shares["main"], shares["anneal"], anneal_fraction=fraction), ()


def _stages(options: MethodOptions, *, has_plan: bool) -> dict[str, MixtureLike]:
    """Return the mixtures of the method two-stage that are known; a plan is the total unless both stages are given."""
    stages = {name: mixture for name, mixture in options.mixtures().items() if name in ("main", "anneal", "total")}
    if has_plan and "total" not in stages and len(stages) < 2:
        stages["total"] = MixtureRule("plan")
    return stages


@dataclass(frozen=True)
class Method:
    """One method: the options that it reads, whether it reads a plan, and the function that makes the curriculum."""

    reads: tuple[str, ...]
    reads_plan: bool
    build: Callable[[MethodOptions, MixtureReader, float], Result]


METHODS: Mapping[str, Method] = {
    "temperature": Method(("tau",), False, _temperature),
    "unimax": Method(("cap",), False, _unimax),
    "cooldown": Method(("tau", "tau_then", "switch"), False, _cooldown),
    "piecewise": Method(("phases",), True, _piecewise),
    "ramp": Method(("main", "anneal", "parts"), True, _ramp),
    "two-stage": Method(("main", "anneal", "anneal_fraction", "total", "late"), True, _two_stage),
}


def check_read(method: str, options: MethodOptions, *, has_plan: bool) -> None:
    """Stop if the method does not exist or does not read one of the options.

    Raises:
        WrongOption: with the first such option.
    """
    if method not in METHODS:
        raise WrongOption("method", f"no method {method!r}: choose one of {', '.join(METHODS)}")
    unread = [name for name in options.present() if name not in METHODS[method].reads]
    if unread or (has_plan and not METHODS[method].reads_plan):
        raise WrongOption((unread or ["plan"])[0], f"--method {method} does not read it")


def check_needs(method: str, options: MethodOptions, *, has_plan: bool) -> None:
    """Stop if the method lacks an option.

    Raises:
        WrongOption: with what the method needs.
    """
    if method == "piecewise" and not options.phases:
        raise WrongOption("phases", "give one or more FRACTION:MIXTURE")
    if method == "ramp" and (options.main is None or options.anneal is None):
        raise WrongOption("", "--method ramp needs --main and --anneal, the mixtures at its start and end")
    stages = set(_stages(options, has_plan=has_plan))
    if method == "two-stage" and (stages != {"total"} if options.late else len(stages) != 2):
        raise WrongOption(
            "",
            "--method two-stage needs two of --main, --anneal and --total, or --late and --total; --plan is a --total",
        )
    for name, mixture in options.mixtures().items():
        if not has_plan and not isinstance(mixture, Mapping) and str(mixture).partition("=")[0] == "plan":
            raise WrongOption("phases" if name.startswith("phase") else name, f"{str(mixture)!r} needs --plan")
