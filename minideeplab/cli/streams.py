"""Output that outlives its reader: work goes on when a pipe or a terminal is closed."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

# A pipe whose reader has ended; a terminal that was closed. Windows calls the first one an invalid argument.
_GONE = {errno.EPIPE, errno.EIO, errno.ESHUTDOWN} | ({errno.EINVAL} if os.name == "nt" else set())


@contextlib.contextmanager
def lasting_streams() -> Iterator[None]:
    """While the block runs, what is printed after the reader has gone goes nowhere, and is no error.

    What the encoding of a terminal lacks is printed as an escape, and a stream that is closed from the beginning
    (`command >&-`) is one without a reader. A full disk stays an error: somebody wanted that file.
    """
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as opened:
        sys.stdout, sys.stderr = (
            _Lasting(opened.enter_context(open(os.devnull, "w")) if stream is None else stream) for stream in before
        )
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _Lasting:
    """A stream that writes nowhere once its reader has gone."""

    def __init__(self, stream):
        self._stream = stream

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding
            return self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._end(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._end(error)

    def _end(self, error: OSError) -> None:
        """From now on this stream leads nowhere, for what the interpreter flushes at its end, too."""
        if error.errno not in _GONE:
            raise error
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())
