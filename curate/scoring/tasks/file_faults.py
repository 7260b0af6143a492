"""Tell whether an error is the fault of the file whose rows were read, and say why in one line.

In: an error of a task. Out: the reason for which the file is bad. Errors that other files would meet too are raised.
"""

from pathlib import Path

from curate.errors import CurateError, SchemaError
from curate.storage import disk_errors, s3


def reason(error: Exception, path: Path, *, quarantine: bool) -> str:
    """Return why the file ``path``, whose rows were read, is bad. With ``quarantine`` any failure of a scorer is.

    Raises:
        Exception: the error itself, or a clearer one, if the file is not at fault.
    """
    if isinstance(error, SchemaError):
        return str(error)
    if isinstance(error, OSError):
        # A store that fails, or a machine without space or file handles, is met by every other file too.
        if (fault := s3.trouble(error, path) or disk_errors.of_the_machine(error, path)) is not None:
            raise fault from None
        return f"{path} cannot be read: {error.strerror or error}. Put it back, repair it, or score without it"
    # The output is at fault, not the file. Without quarantine a scorer that fails ends the job.
    if isinstance(error, CurateError) or not quarantine:
        raise error
    # A scorer may fail in any way on unusual rows. With quarantine that costs one file, not the job.
    return f"{path}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
