"""Optional packages: one place that checks for them, before a job touches a file, and says how to install them."""

from importlib import import_module
from importlib.util import find_spec

from curate.errors import CurateError
from curate.shown import shortened


def require(user: str, package: str, extra: str, *, load: bool = True) -> None:
    """Check that an optional package can be imported.

    Args:
        user: what needs it, such as ``scorer language``.
        package: the name by which it is imported.
        extra: the extra of curate that installs it.
        load: whether to import it, which also finds a broken installation; else it is only looked for.

    Raises:
        CurateError: if it is not installed, or cannot be imported. The message says what to install.
    """
    remedy = f"pip install 'curate-planner[{extra}]'"
    try:
        if find_spec(package) is None:
            raise ModuleNotFoundError(name=package)
        if load:
            import_module(package)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise CurateError(f"{user} needs the package {package}: {remedy}") from None
        raise CurateError(
            f"{user} needs the package {package}, which cannot be imported ({shortened(str(error))}): {remedy}"
        ) from None
