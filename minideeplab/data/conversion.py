"""A data set of any kind, written in the folders of VOC."""

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from minideeplab.data import voc
from minideeplab.data.dataset import SegmentationDataset
from minideeplab.data.images import IMAGE_SUFFIXES, UPRIGHT, orientation
from minideeplab.data.masks import write_mask
from minideeplab.data.palettes import IGNORE_INDEX
from minideeplab.errors import DataError
from minideeplab.files.whole import write_text, written_whole

JPEG_SUFFIXES, JPEG_QUALITY = (".jpg", ".jpeg"), 92


def convert(
    datasets: Sequence[SegmentationDataset],
    out: str | Path,
    report: Callable[[], None] = lambda: None,
    longest_side: int | None = None,
) -> int:
    """Writes the splits of a data set as a VOC folder, and returns the number of its images.

    Images are copied as they are. One that is turned by EXIF, or has no suffix of an image, becomes a PNG file of the
    pixels that minideeplab sees. Masks become palette PNG files, in which void is 255. The folder opens as the set
    does: the same ids, classes and colours, and the same arrays, as long as nothing is made smaller. It is there in
    full or not at all.

    Args:
        datasets: splits of one set, such as train and val, of the same classes.
        out: a new or empty folder.
        report: called after each sample of each split.
        longest_side: larger images are made smaller until their longer side has so many pixels, with their masks (the
            nearest label); they become JPEG files, or PNG files where they were.

    Raises:
        DataError: `out` is not empty, or cannot be written, or a sample cannot be read.
    """
    out = Path(out)
    names = {dataset.class_names for dataset in datasets}
    if len(names) != 1:
        raise DataError(f"{out}: the splits have different classes; convert them one by one")
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise DataError(f"{out}: this exists and is not an empty folder; give another")
        with _folder_whole(out) as folder:
            for part in (voc.IMAGES, voc.MASKS, voc.SPLITS):
                (folder / part).mkdir(parents=True)
            write_text(folder / "class_names.txt", "".join(f"{name}\n" for name in names.pop()))
            written: dict[str, Path] = {}
            for dataset in datasets:
                ids = []
                for i in range(len(dataset)):
                    ids.append(_write_sample(dataset, i, folder, written, longest_side))
                    report()
                write_text(folder / voc.SPLITS / f"{dataset.split}.txt", "".join(f"{name}\n" for name in ids))
    except (OSError, ValueError) as error:
        raise DataError(f"{out}: cannot be written ({error}); make room, or give another folder") from error
    return len(written)


@contextlib.contextmanager
def _folder_whole(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out`, new or empty, when the block ends without an error."""
    existed = out.exists()
    created = [parent for parent in out.parents if not parent.exists()]  # the innermost first
    temporary = (out if existed else out.parent) / f".minideeplab-{secrets.token_hex(8)}.tmp"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if existed:
            for entry in list(temporary.iterdir()):
                entry.rename(out / entry.name)
            temporary.rmdir()
        else:
            temporary.rename(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            for parent in created:
                parent.rmdir()
        raise


def _write_sample(dataset, i, out, written, longest_side) -> str:
    """Writes an image and its mask, unless another split has done so, and returns their id."""
    source, name = dataset.image_path(i), dataset.ids[i]
    if written.get(name, source) != source:  # of another split
        name = f"{dataset.split}/{name}"
    if name in written:
        return name
    pixels, mask = dataset.sample(i)
    if dataset.ignore_index != IGNORE_INDEX:
        mask = np.where(mask == dataset.ignore_index, np.uint8(IGNORE_INDEX), mask)
    is_large = longest_side is not None and max(mask.shape) > longest_side
    # Other programs may pass over EXIF, and show a turned image in another way.
    copied = source.suffix.lower() in IMAGE_SUFFIXES and orientation(source) in UPRIGHT and not is_large
    suffix = source.suffix if copied else ".jpg" if is_large and source.suffix.lower() in JPEG_SUFFIXES else ".png"
    image = out / voc.IMAGES / f"{name}{suffix}"
    target = out / voc.MASKS / f"{name}.png"
    for path in (image, target):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(image) as file:
        if copied:
            with open(source, "rb") as original:
                shutil.copyfileobj(original, file)
        else:
            picture = Image.fromarray(pixels)
            if is_large:
                factor = longest_side / max(mask.shape)
                size = tuple(max(1, round(factor * side)) for side in picture.size)
                picture = picture.resize(size, Image.Resampling.LANCZOS)
                mask = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
            picture.save(file, format="JPEG" if suffix == ".jpg" else "PNG", quality=JPEG_QUALITY)
    write_mask(target, mask, dataset.palette)
    written[name] = source
    return name
