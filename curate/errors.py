"""Errors that a user can act on. Each message says what is wrong, where, and what to change."""


class CurateError(Exception):
    """A problem that the user can fix. The message is one line."""


class SchemaError(CurateError):
    """An input file or table lacks a column, type or value that it must have."""


class FitError(CurateError):
    """The runs are too few, or too alike, to determine the law."""


class Infeasible(CurateError):
    """No mixture satisfies all limits. The message names the limits that clash, and by how much."""


class Interrupted(CurateError):
    """A job cannot be continued. The message says what changed, and which flag starts over."""
