"""The project's own exceptions: one per kind of bad file, each with the exit code its command ends with."""


class MiniDeepLabError(Exception):
    """A mistake outside the program: the message names the file, the value found, and the next step."""

    exit_code = 1


class UsageError(MiniDeepLabError):
    """Arguments that do not fit together, found after parsing."""

    exit_code = 2


class DataError(MiniDeepLabError):
    """An image, mask, list file or folder that cannot be used."""

    exit_code = 3


class CheckpointError(MiniDeepLabError):
    """A checkpoint that cannot be read, or does not fit the model or the data."""

    exit_code = 4


class DamagedError(CheckpointError):
    """A checkpoint whose bytes are not those that were written: an older one of the run may be taken instead."""


class DivergedError(MiniDeepLabError):
    """Training met a loss that is not finite."""

    exit_code = 5
