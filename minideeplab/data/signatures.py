"""What a file is by its first bytes: many a download or export is not what its name says."""

from pathlib import Path
from typing import NamedTuple

EXPORT, AGAIN = "export it as JPEG or PNG", "download or export it again"
START = 1024  # bytes that are looked at
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


class Kind(NamedTuple):
    """What a file is, in words that follow "this is"; what to do with it; Pillow's name of it, for formats we read."""

    name: str
    advice: str
    format: str | None = None


# First bytes -> kind. Raw photographs without a signature of their own (DNG, NEF, ARW) are TIFF files to a decoder.
SIGNATURES = (
    (b"\xff\xd8\xff", Kind("a JPEG file", "export it as PNG", "JPEG")),
    (b"\x89PNG\r\n\x1a\n", Kind("a PNG file", "export it as PNG", "PNG")),
    (b"BM", Kind("a BMP file", "export it as PNG", "BMP")),
    (b"II*\0\x10\0\0\0CR", Kind("a raw photograph (Canon CR2)", EXPORT)),
    (b"II*\0", Kind("a TIFF file", "export it as PNG", "TIFF")),
    (b"MM\0*", Kind("a TIFF file", "export it as PNG", "TIFF")),
    (b"II+\0", Kind("a BigTIFF file", EXPORT)),
    (b"MM\0+", Kind("a BigTIFF file", EXPORT)),
    (b"GIF8", Kind("a GIF file", "export it as PNG")),
    (b"FUJIFILMCCD-RAW", Kind("a raw photograph (Fujifilm RAF)", EXPORT)),
    (b"IIRO", Kind("a raw photograph (Olympus ORF)", EXPORT)),
    (b"IIRS", Kind("a raw photograph (Olympus ORF)", EXPORT)),
    (b"IIU\0", Kind("a raw photograph (Panasonic RW2)", EXPORT)),
    (b"8BPS", Kind("a Photoshop document (PSD)", EXPORT)),
    (b"gimp xcf", Kind("a GIMP document (XCF)", EXPORT)),
    (b"\0\0\0\x0cJXL ", Kind("a JPEG XL file", EXPORT)),
    (b"\xff\x0a", Kind("a JPEG XL file", EXPORT)),
    (b"\0\0\0\x0cjP  ", Kind("a JPEG 2000 file", EXPORT)),
    (b"\xff\x4f\xff\x51", Kind("a JPEG 2000 file", EXPORT)),
    (b"v/1\x01", Kind("an OpenEXR file", EXPORT)),
    (b"#?RADIANCE", Kind("a Radiance HDR file", EXPORT)),
    (b"%PDF", Kind("a PDF document", "export its pages as JPEG or PNG")),
    (b"%!PS", Kind("a PostScript document", EXPORT)),
    (b"\x1aE\xdf\xa3", Kind("a video (Matroska or WebM)", "export single frames as JPEG or PNG")),
    (b"PK\x03\x04", Kind("a zip archive", "unpack it first")),
    (b"\x1f\x8b", Kind("a gzip archive", "unpack it first")),
    (b"Rar!", Kind("a RAR archive", "unpack it first")),
    (b"7z\xbc\xaf\x27\x1c", Kind("a 7-Zip archive", "unpack it first")),
    (b"\x93NUMPY", Kind("an array of NumPy", "write it as PNG")),
    (b"version https://git-lfs", Kind("a Git LFS pointer, not the file itself", "run: git lfs pull")),
)


def kind_of(path: str | Path) -> Kind | None:
    """What the first bytes of a file say that it is; None where they say nothing.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return kind_of_bytes(file.read(START))


def kind_of_bytes(start: bytes) -> Kind | None:
    """As `kind_of`, for the first bytes of a file."""
    if not start:
        return Kind("an empty file", "the copy or the download failed; copy or download it again")
    if start[4:8] == b"ftyp":  # the container of HEIF, AVIF and MP4: the brand tells which
        return _of_brand(start[8:12])
    if start[:4] == b"RIFF":
        if start[8:12] == b"WEBP":
            return Kind("a WebP file", "export it as PNG", "WEBP")
        return Kind("a RIFF file (sound or video)", AGAIN)
    for signature, kind in SIGNATURES:
        if start.startswith(signature):
            return kind
    if not start.strip(b"\0"):
        return Kind(f"a file that begins with {len(start)} zero bytes", "the copy or the download failed; " + AGAIN)
    return _of_text(start)


def _of_brand(brand):
    if brand in (b"avif", b"avis"):
        return Kind("an AVIF file", EXPORT)
    if brand in HEIC_BRANDS:
        return Kind("a HEIC file, as iPhones store photographs", EXPORT)
    if brand == b"crx ":
        return Kind("a raw photograph (Canon CR3)", EXPORT)
    return Kind("a video (MP4 or QuickTime)", "export single frames as JPEG or PNG")


def _of_text(start):
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return Kind("an SVG drawing", "export it as PNG")
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<!--")):
        return Kind("a web page, so the download gave an error page or asks for a login", "download the file itself")
    if text.startswith(b"<?xml"):
        return Kind("an XML text", AGAIN)
    if text.startswith((b"{", b"[")):
        return Kind("a JSON text", AGAIN)
    return None
