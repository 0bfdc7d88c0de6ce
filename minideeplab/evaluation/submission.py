"""Predictions in the form in which the servers of the data sets take them."""

from pathlib import Path

import numpy as np
from PIL import Image

from minideeplab.data import write_mask
from minideeplab.files.names import file_name
from minideeplab.files.whole import written_whole


class Submission:
    """A folder of label maps, one PNG of the image's full size for each sample.

    VOC: results/VOC2012/Segmentation/comp6_SPLIT_cls/ID.png with VOC's palette, to be packed from `results` on (comp6:
    training on any data). Data sets whose masks number the classes otherwise (`stored_labels`: labelIds of Cityscapes,
    1 to 150 of ADE20K): these numbers as 8-bit grey, in files that are called like the images. Others: labels with the
    palette of the set. Where images in two folders have the same name, files are called by their ids, see `file_name`.

    Args:
        folder: where to write; dataset: with `ids`, `name`, `split`, `palette` and perhaps `stored_labels`.

    Source: the development kit of VOC 2012; cityscapesscripts, evalPixelLevelSemanticLabeling.py;
    github.com/CSAILVision/sceneparsing.
    """

    def __init__(self, folder: str | Path, dataset):
        self.folder, self.dataset = Path(folder), dataset
        stored = getattr(dataset, "stored_labels", None)
        self.stored = None
        if stored is not None:
            self.stored = np.arange(256, dtype=np.uint8)
            self.stored[list(stored)] = list(stored.values())
        if dataset.name == "voc":
            self.folder = self.folder / f"results/VOC2012/Segmentation/comp6_{dataset.split}_cls"
        last = [Path(sample).name for sample in dataset.ids]
        unique = len({name.casefold() for name in last}) == len(last)  # some file systems do not tell A from a
        self.names = last if unique else [file_name(sample) for sample in dataset.ids]

    def write(self, number: int, labels: np.ndarray) -> Path:
        """Writes the labels (H, W) uint8 of sample `number`; returns the file.

        Raises:
            OSError: it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.names[number]}.png"
        if self.stored is None:
            write_mask(path, labels, self.dataset.palette)
        else:
            with written_whole(path) as file:
                Image.fromarray(self.stored[labels]).save(file, format="PNG")
        return path
