"""Open sets: scorers, laws, encoders, exports and trainers, each chosen by name.

In: a name with options, such as ``prototypes:k=8``. Out: an instance of the class of that name.

A name is one of three things:

* a file in the set's folder: ``prototypes`` is the class ``Prototypes`` of ``curate/scorers/prototypes.py``;
* a class in a user's own file: ``path/to/file.py:ClassName``;
* an entry point of an installed package, in the group ``curate.scorers`` (``curate.laws``, ``curate.exports`` ...).
"""

import ast
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from difflib import get_close_matches
from functools import cache
from hashlib import sha256
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from inspect import Parameter, signature
from pathlib import Path
from types import ModuleType

from curate.errors import CurateError, SchemaError

ROOT = Path(__file__).parent
# ``file.py:Class`` or ``file.py:Class:key=value``. The file's name ends at the first ``.py:``.
OWN_CLASS = re.compile(r"(?P<name>(?P<file>.+?\.py):(?P<cls>[A-Za-z_]\w*))(?::(?P<options>.*))?", re.DOTALL)
SQL_OPTION = re.compile(r"(?:^|,)sql=(?P<sql>.*)", re.DOTALL)
PLAIN_TYPES: Mapping[object, str] = {int: "a whole number", float: "a number", bool: "true or false"}
# What a job gives to a member, besides the options that a user chooses: rows to learn from, or the texts of pools.
DATA_ARGUMENTS: Mapping[str, tuple[str, ...]] = {"scorers": ("stream", "corpus"), "trainers": ("pools", "evals")}

Value = int | float | str | bool


def names(folder: str) -> tuple[str, ...]:
    """Return the sorted names of the files in ``curate/<folder>/``, without importing any of them."""
    return _names_in(ROOT / folder)


# A job with many scorers asks thousands of times for the names, and they do not change while it runs.
@cache
def _names_in(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in folder.glob("*.py") if path.stem[0] != "_"))


def installed(folder: str) -> tuple[str, ...]:
    """Return the sorted names that installed packages add to a set.

    A name that curate itself has is left out: curate's own member is used.
    """
    return tuple(sorted({point.name for point in entry_points(group=f"curate.{folder}")} - set(names(folder))))


def module(folder: str, name: str) -> ModuleType:
    """Import the module that holds the member ``name`` of a set.

    Raises:
        CurateError: if the name is unknown (the message gives the nearest one), or the file of a user's class is
            missing or cannot be imported.
    """
    if own := OWN_CLASS.fullmatch(name):
        return _own_module(Path(own["file"]))
    if name in names(folder):
        return import_module(f"curate.{folder}.{name}")
    if point := _entry_point(folder, name):
        return import_module(point.module)
    if name.endswith(".py"):
        raise CurateError(f"{name} is a file: add the name of its class, {name}:ClassName")
    raise CurateError(unknown(name, (*names(folder), *installed(folder)), kind=folder.removesuffix("s")))


def implementation(folder: str, name: str) -> type:
    """Return the class of the member ``name`` of a set.

    The name in CamelCase is that of the class: ``utility_smooth`` is ``UtilitySmooth`` in ``utility_smooth.py``.
    """
    holder = module(folder, name)
    own, point = OWN_CLASS.fullmatch(name), None if name in names(folder) else _entry_point(folder, name)
    if own:
        class_name = own["cls"]
    else:
        class_name = point.attr if point else class_name_of(name)
    cls = getattr(holder, class_name, None)
    if not isinstance(cls, type):
        # A class that the file imports from elsewhere is not a member.
        classes = [
            key
            for key, value in vars(holder).items()
            if isinstance(value, type) and value.__module__ == holder.__name__ and key[0] != "_"
        ]
        rule = "" if own or point else f" The class of {name}.py is named {class_name}, and that of my_own.py MyOwn."
        raise CurateError(f"{holder.__file__}: {unknown(class_name, classes, kind='class')}.{rule}".rstrip("."))
    if own:
        # A worker process does not know the user's file by a module name, so it loads the file again.
        cls.__reduce__ = _reduced(folder, name)  # type: ignore[assignment, method-assign]
    return cls


def exists(folder: str, name: str) -> bool:
    """Return whether a set has the member ``name``.

    A member is a file of curate, an entry point of a package, or a class in a user's file.
    """
    return name in names(folder) or is_own(name) or _entry_point(folder, name) is not None


def is_own(name: str) -> bool:
    """Return whether a name is of the form ``path/to/file.py:ClassName``, a class in a user's own file."""
    return OWN_CLASS.fullmatch(name) is not None


def parse(spec: str) -> tuple[str, dict[str, Value]]:
    """Split ``name:key=value,key=value`` into a name and options, whose values are int, float, bool or str.

    The option ``sql=`` comes last. Its value is the rest of the text, also with commas.

    Raises:
        CurateError: if an option has no value, or stands twice.
    """
    own = OWN_CLASS.fullmatch(spec)
    name, rest = (own["name"], own["options"] or "") if own else (spec.partition(":")[0], spec.partition(":")[2])
    options: dict[str, Value] = {}
    sql = SQL_OPTION.search(rest)
    rest = rest[: sql.start()] if sql else rest
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise CurateError(f"option {item!r} in {spec!r} has no value: write {name}:{item}=VALUE")
        # A variable of the shell may be empty. To take the default instead would run another job.
        if not value:
            raise CurateError(f"option {key}= in {spec!r} has no value. Write it after the =, or leave {key}= out")
        if key in options:
            raise CurateError(f"option {key}= stands twice in {spec!r}. Leave one out")
        try:
            options[key] = ast.literal_eval({"true": "True", "false": "False"}.get(value, value))
        except (ValueError, SyntaxError):
            options[key] = value
    return name, options | ({"sql": sql["sql"].strip()} if sql else {})


def split(specs: str) -> list[str]:
    """Split ``name,name:key=value,key=value,name`` at the commas between names.

    An item with ``=`` and without ``:`` is an option of the name before it.
    """
    parts: list[str] = []
    for item in specs.split(","):
        if parts and "=" in item and ":" not in item:
            parts[-1] += f",{item}"
        else:
            parts.append(item)
    return parts


def build(folder: str, spec: str) -> object:
    """Build the member that ``name:key=value,...`` names, with these options.

    Raises:
        CurateError: if the name or an option is unknown. The message gives the nearest one.
        SchemaError: if a value has the wrong type.
    """
    name, values = parse(spec)
    cls = implementation(folder, name)
    types = {field.name: field.type for field in option_fields(cls)}
    check_options(name, values, types)
    return cls(**values)


def check_options(name: str, values: Mapping[str, object], types: Mapping[str, object]) -> None:
    """Check that every option exists and that its value has the right type.

    ``types`` maps the name of every option to its type. A whole number may be given for a float.

    Raises:
        CurateError: if an option is unknown.
        SchemaError: if a value has the wrong type.
    """
    for option in values:
        if option not in types:
            suggestion = nearest(option, types) or "."
            raise CurateError(f"{name} has no option {option!r}{suggestion} Its options: {', '.join(types) or 'none'}")
    for option, value in values.items():
        expected = types[option]
        if expected not in PLAIN_TYPES or type(value) is expected or (expected is float and type(value) is int):
            continue
        whole = expected is int and isinstance(value, float) and value.is_integer()
        instead = f": write {value:.0f}" if whole else ""
        raise SchemaError(f"{name}: {option}={value} is not {PLAIN_TYPES[expected]}{instead}")


def unknown(name: str, choices: tuple[str, ...] | list[str], *, kind: str) -> str:
    """Return the error message for an unknown name, with the name nearest to it and all valid names."""
    advice = f"Choose one of {', '.join(choices)}" if choices else "There is none to choose from"
    return f"unknown {kind} {name!r}{nearest(name, choices) or '.'} {advice}"


def nearest(name: str, choices: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    """Return ``; did you mean 'x'?`` for the choice that is spelled most like ``name``, or nothing."""
    # .6 is difflib's default: it bridges one or two typing errors in a word of six letters.
    close = get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def rebuild(folder: str, name: str, values: Mapping[str, object]) -> object:
    """Build an instance of a class in a user's file again, in another process."""
    return implementation(folder, name)(**values)


def _reduced(folder: str, name: str) -> Callable[[object], tuple[object, ...]]:
    def reduce(self: object) -> tuple[object, ...]:
        return rebuild, (folder, name, {field.name: getattr(self, field.name) for field in option_fields(type(self))})

    return reduce


def option_types(folder: str, name: str) -> dict[str, object]:
    """Return the type of every option of a member, by name."""
    return {option.name: option.annotation for option in option_parameters(folder, name)}


def option_parameters(folder: str, name: str) -> tuple[Parameter, ...]:
    """Return the options of a member, with their types and defaults; what a job gives to the member is left out."""
    called = factory(folder, name)
    if isinstance(called, type):
        option_fields(called)  # raises for a class that is not a dataclass
    data = DATA_ARGUMENTS.get(folder, ())
    return tuple(option for option in signature(called).parameters.values() if option.name not in data)


def factory(folder: str, name: str) -> Callable[..., object]:
    """Return what takes the options of a member: its class, or the function ``learn`` of a scorer that learns."""
    learn: Callable[..., object] | None = getattr(module(folder, name), "learn", None)
    return learn if folder == "scorers" and learn is not None else implementation(folder, name)


def option_fields(cls: type) -> tuple[Field[object], ...]:
    """Return the fields that a class is built from; a class that is no dataclass is an error."""
    try:
        return tuple(field for field in fields(cls) if field.init)
    except TypeError:
        raise CurateError(f"{cls.__name__} is not a dataclass: write @dataclass(frozen=True) above it") from None


OWN_MODULE = "curate_own_"  # with which the names of modules begin that are files of the user


def own_files() -> tuple[str, ...]:
    """Return the paths of the user's own files that this process has imported.

    Another process must import them too before it can read a pickle of what they define: see `load_own_files`.
    """
    modules = [module for name, module in list(sys.modules.items()) if name.startswith(OWN_MODULE)]
    return tuple(sorted(str(Path(module.__file__).resolve()) for module in modules if module.__file__))


def load_own_files(paths: tuple[str, ...]) -> None:
    """Import the user's own files that another process had imported."""
    for path in paths:
        _own_module(Path(path))


def _own_module(path: Path) -> ModuleType:
    """Import a user's file once, under a name that no other module has."""
    if not path.is_file():
        raise CurateError(f"no such file: {path}. A class of your own is named path/to/file.py:ClassName")
    name = f"{OWN_MODULE}{path.stem}_{sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CurateError(f"{path} cannot be imported as Python")
    own = module_from_spec(spec)
    # dataclasses and pickle look a class's module up in sys.modules.
    sys.modules[name] = own
    try:
        spec.loader.exec_module(own)
    except (Exception, SystemExit) as error:  # a script may end with sys.exit()
        del sys.modules[name]
        raise CurateError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return own


def _entry_point(folder: str, name: str) -> EntryPoint | None:
    points = entry_points(group=f"curate.{folder}", name=name)
    return next(iter(points), None)


def class_name_of(name: str) -> str:
    """Return the name of the class in the file of a member: ``utility_smooth`` gives ``UtilitySmooth``."""
    return "".join(part.capitalize() for part in name.split("_"))
