"""Errors a user can cause, each with the exit code of the command line (design: 2 bad input, 3 no usable face)."""


class TalkeditError(Exception):
    """One clear sentence for the user; ``exit_code`` is what the command line returns."""

    exit_code = 1


class InputError(TalkeditError):
    """The input, an option or the output path is unusable."""

    exit_code = 2


class NoFaceError(TalkeditError):
    """The input decodes, but holds no face that can be edited."""

    exit_code = 3
