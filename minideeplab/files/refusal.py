"""How a file of somebody else is refused: one kind of error, one limit on memory, one way to show what is in it."""

REDO = "copy or download the file again"  # said of damaged files only
DEFAULT_MAX_BYTES = 8 * 2**30


class Refusal(ValueError):
    """Why a file is not read, and what to do instead. Whoever opened the file puts its name in front."""


class Budget:
    """Counts bytes before they are allocated.

    Args:
        max_bytes: how many there may be.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes, self.used = max_bytes, 0

    def take(self, nbytes: int) -> None:
        """Raises Refusal where `nbytes` more are too many."""
        self.used += nbytes
        if self.used > self.max_bytes:
            raise Refusal(
                f"its arrays take {self.used} bytes or more, the limit is {self.max_bytes}; "
                f"give a larger max_bytes if the file is meant to be that large"
            )


def plain(text: str) -> str:
    """A message that a terminal shows as it is: control characters of names and values become escapes."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def shown(value) -> str:
    """A value of a file for a message: short, on one line, and without a walk through what it contains."""
    if isinstance(value, int) and value.bit_length() > 14000:  # Python refuses to print more than 4300 digits
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, str | bytes | bytearray | int | float):
        text = repr(value[:80] if isinstance(value, str | bytes | bytearray) else value)
        return text if len(text) <= 80 else text[:77] + "..."
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, tuple | list | dict) else "")
