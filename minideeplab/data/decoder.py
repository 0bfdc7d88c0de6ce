"""Pillow, asked without trust: an image file is opened here and nowhere else, and what goes wrong is a DataError."""

import io
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from minideeplab.data.signatures import AGAIN, kind_of
from minideeplab.errors import DataError

MAX_PIXELS = 64_000_000  # well below Pillow's own warning: a small file may declare gigabytes of pixels
DEFLATE_RATIO = 1032  # so many bytes can one byte of a PNG become, and no more
PIXELS_PER_WEBP_BYTE, SIMPLE_PIXELS = 4096, 8_000_000  # beyond so many pixels, a byte stands for at most so many
PIXELS_PER_JPEG_BYTE = 512  # a block of 8 x 8 pixels takes one bit or more


@contextmanager
def opened(path: str | Path, formats: Sequence[str]) -> Iterator[Image.Image]:
    """An image, its header read; what the decoder raises, now or while the block loads it, becomes a DataError.

    Args:
        path: the file.
        formats: Pillow's names of the formats that are tried.

    Raises:
        DataError: no such file, not a regular file (a pipe would wait for ever), of another format, with too many
            pixels, or damaged.
    """
    path = Path(path)
    size = _size(path)
    try:
        with _Bounded(path, size) as file, Image.open(file, formats=formats) as image:
            _require_plausible(path, size, image)
            yield image
    except (DataError, MemoryError):
        raise
    except PermissionError as error:
        raise DataError(_not_opened(path, error)) from None
    except Image.UnidentifiedImageError:
        raise DataError(_not_recognised(path, size, formats)) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: {error}; make it smaller, or check where the file comes from") from None
    except Exception as error:  # on broken bytes Pillow's decoders raise nearly anything
        reason = str(error)[:200] or type(error).__name__
        raise DataError(f"{path}: cannot be decoded ({reason}); download or export it again") from error


class _Bounded(io.BufferedReader):
    """Gives no more than there is: a decoder asks for what a file claims, and Python would allocate that first."""

    def __init__(self, path, size):
        super().__init__(io.FileIO(path))
        self._size = size

    def read(self, size=-1):
        return super().read(min(size, max(0, self._size - self.tell())) if size and size > 65536 else size)


def _size(path):
    """Bytes of a regular file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:  # a name that is too long, or with a zero byte; a folder that is closed
        raise DataError(_not_opened(path, error)) from None
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{path}: a folder, not an image file; give a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: a pipe or a device, not an image file; write the image to a file first")
    return found.st_size


def _require_plausible(path, size, image):
    """Refuses by the header alone; Pillow's own limit is a warning, and filters of warnings belong to the process."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: {width} x {height} pixels, more than the limit of {MAX_PIXELS:,}; "
            "make it smaller, or check where the file comes from"
        )
    # Of both formats the decoder would paint what is missing, and say nothing.
    jpeg = image.format in ("JPEG", "MPO") and width * height > PIXELS_PER_JPEG_BYTE * size
    # WebP's canvas is taken before its first pixel; no photograph is that simple.
    webp = image.format == "WEBP" and width * height > max(SIMPLE_PIXELS, PIXELS_PER_WEBP_BYTE * size)
    if jpeg or webp or (image.format == "PNG" and width * height * _bits(image) > 8 * DEFLATE_RATIO * size):
        raise DataError(
            f"{path}: declares {width} x {height} pixels in {size} bytes, which is not possible; "
            "download or export it again"
        )


def _bits(image):
    """Bits of a pixel of a PNG file, 1 where Pillow does not tell."""
    packed = image.tile[0][3] if image.tile else "1"  # such as P;4, L;2, I;16B, RGB
    mode, _, bits = packed.partition(";")
    if bits[:2] == "16":
        return 16 * len(mode)
    return int(bits) if bits in ("1", "2", "4") else 1 if mode == "1" else 8 * len(mode)


def _not_opened(path, error):
    return f"{path}: cannot be opened ({getattr(error, 'strerror', None) or error}); check its name and permissions"


def _not_recognised(path, size, formats):
    names = f"{', '.join(formats[:-1])} or {formats[-1]}" if len(formats) > 1 else formats[0]
    kind = kind_of(path)
    if kind is None:
        return f"{path}: not a {names} file ({size} bytes), whatever its name says; {AGAIN}"
    if kind.format in formats:
        return f"{path}: begins as {kind.name}, but its header is damaged ({size} bytes); {AGAIN}"
    return f"{path}: not a {names} file ({size} bytes), whatever its name says: this is {kind.name}; {kind.advice}"
