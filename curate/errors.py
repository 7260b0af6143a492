"""The errors a user can act on: one message that says what is wrong, where, and what to change, with the numbers."""


class CurateError(Exception):
    """Something the user can fix. The message is a single line: what, where, what to change."""


class SchemaError(CurateError):
    """An input file or table does not have the columns, types or values it must have."""


class FitError(CurateError):
    """The runs at hand cannot determine the law that was asked for."""


class Infeasible(CurateError):
    """No mixture satisfies the constraints; the message says which ones and by how much."""


class Interrupted(CurateError):
    """A job cannot be continued as asked; the message says what changed and which flag starts over."""
