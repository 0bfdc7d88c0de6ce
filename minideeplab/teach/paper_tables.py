"""Tables of papers as data, each with its source. They are quoted: nothing in them was measured here.

A table shows itself at the end of a notebook's cell; `records()` gives its rows as dicts. None is an empty cell.
"""

from typing import NamedTuple

from minideeplab.teach.tables import Table, table


class PaperTable(NamedTuple):
    """What a paper prints.

    Attributes:
        title: what it shows; source: paper, arXiv number, table; heads: of the columns; rows: as long as the heads.
    """

    title: str
    source: str
    heads: tuple[str, ...]
    rows: tuple[tuple, ...]

    def records(self) -> list[dict]:
        """A dict for each row."""
        return [dict(zip(self.heads, row, strict=True)) for row in self.rows]

    def column(self, head: str) -> list:
        """All values below one head.

        Raises:
            ValueError: no such head.
        """
        if head not in self.heads:
            raise ValueError(f"{self.title}: no column {head!r}; there are {', '.join(self.heads)}")
        return [row[self.heads.index(head)] for row in self.rows]

    def shown(self, *heads: str) -> Table:
        """The table for a notebook, with all columns or those that are named; its caption names the source."""
        chosen = heads or self.heads
        rows = list(zip(*(self.column(head) for head in chosen), strict=True))
        return table([list(row) for row in rows], chosen, f"{self.title} (quoted: {self.source})")

    def __repr__(self):
        return repr(self.shown())

    def _repr_html_(self):
        return self.shown()._repr_html_()


V1, V3 = "DeepLab v1, arXiv 1412.7062", "DeepLab v3, arXiv 1706.05587"
V3PLUS, PSPNET = "DeepLab v3+, arXiv 1802.02611", "PSPNet, arXiv 1612.01105"
RESNET, DRN, DENSENET = "ResNet, arXiv 1512.03385", "DRN, arXiv 1705.09914", "DenseNet, arXiv 1608.06993"

V1_FIELD_OF_VIEW = PaperTable(
    "fc6 of DeepLab v1: mIoU on VOC val before and after the CRF, images a second in training", f"{V1}, table 2",
    ("model", "kernel", "rate", "field of view", "parameters, M", "images/s", "before CRF", "after CRF"),
    (
        ("DeepLab-CRF-7x7", 7, 4, 224, 134.3, 1.44, 64.38, 67.64),
        ("DeepLab-CRF", 4, 4, 128, 65.1, 2.90, 59.80, 63.74),
        ("DeepLab-CRF-4x4", 4, 8, 224, 65.1, 2.90, 63.41, 67.14),
        ("DeepLab-CRF-LargeFOV", 3, 12, 224, 20.5, 4.84, 62.25, 67.64),
    ),
)  # fmt: skip

V3_OUTPUT_STRIDE = PaperTable(
    "ResNet-50 with blocks 5 to 7 at several output strides, mIoU on VOC val", f"{V3}, table 1",
    ("output stride", "mIoU"),
    ((8, 75.18), (16, 73.88), (32, 70.06), (64, 59.99), (128, 42.34), (256, 20.29)),
)  # fmt: skip

V3_CASCADE = PaperTable(
    "The cascade, one more block each, mIoU on VOC val", f"{V3}, table 2",
    ("network", "block4", "block5", "block6", "block7"),
    (("ResNet-50", 64.81, 72.14, 74.29, 73.88), ("ResNet-101", 68.39, 73.21, 75.34, 75.76)),
)  # fmt: skip

V3_MULTI_GRID = PaperTable(
    "Multi-grid on ResNet-101, mIoU on VOC val", f"{V3}, table 3",
    ("multi-grid", "block4", "block5", "block6", "block7"),
    (
        ("(1, 1, 1)", 68.39, 73.21, 75.34, 75.76),
        ("(1, 2, 1)", 70.23, 75.67, 76.09, 76.66),
        ("(1, 2, 3)", 73.14, 75.78, 75.96, 76.11),
        ("(1, 2, 4)", 73.45, 75.74, 75.85, 76.02),
        ("(2, 2, 2)", 71.45, 74.30, 74.70, 74.62),
    ),
)  # fmt: skip

V3_TEST = PaperTable(
    "VOC 2012 test, mIoU", f"{V3}, table 7", ("method", "mIoU"),
    (
        ("Adelaide", 79.1), ("LRR", 79.3), ("DeepLab v2 with CRF", 79.7), ("G-CRF", 80.2), ("HikSeg", 81.4),
        ("SegModel", 81.8), ("LC", 82.7), ("TuSimple", 83.1), ("LKM", 83.6), ("RefineNet", 84.2), ("ResNet-38", 84.9),
        ("PSPNet", 85.4), ("IDW-CNN", 86.3), ("SDN", 86.6), ("DIS", 86.8), ("DeepLab v3", 85.7),
        ("DeepLab v3, JFT", 86.9),
    ),
)  # fmt: skip

V3_TRAINING = PaperTable(
    "What the training of DeepLab v3 needs, mIoU on VOC val", f"{V3}, table 8", ("change", "mIoU"),
    (
        ("none", 77.21), ("batch norm not fine-tuned", 75.95), ("labels made smaller", 76.01),
        ("crops of 321, not 513", 67.22),
    ),
)  # fmt: skip

V3_BATCH = PaperTable(
    "Batch size of DeepLab v3, mIoU on VOC val", f"{V3}, table 9", ("batch", "mIoU"),
    ((4, 64.43), (8, 75.76), (12, 76.49), (16, 77.21)),
)  # fmt: skip

_HEADS = ("trained at", "output stride", "decoder", "scales", "flip", "mIoU", "multiply-adds, 1e9")
V3PLUS_RESNET101 = PaperTable(
    "DeepLab v3+ on ResNet-101, VOC val", f"{V3PLUS}, table 3", _HEADS,
    (
        (16, 16, False, 1, False, 77.21, 81.02),
        (16, 8, False, 1, False, 78.51, 276.18),
        (16, 8, False, 6, False, 78.45, 2435.37),
        (16, 8, False, 6, True, 79.77, 4870.59),
        (16, 16, True, 1, False, 78.85, 101.28),
        (16, 16, True, 6, False, 80.09, 898.69),
        (16, 16, True, 6, True, 80.22, 1797.23),
        (16, 8, True, 1, False, 79.35, 297.92),
        (16, 8, True, 6, False, 80.43, 2623.61),
        (16, 8, True, 6, True, 80.57, 5247.07),
        (32, 32, False, 1, False, 75.43, 52.43),
        (32, 32, True, 1, False, 77.37, 74.20),
        (32, 16, True, 1, False, 77.80, 101.28),
        (32, 8, True, 1, False, 77.92, 297.92),
    ),
)  # fmt: skip

V3PLUS_XCEPTION = PaperTable(
    "DeepLab v3+ on Xception-65, VOC val", f"{V3PLUS}, table 5",
    ("trained at", "output stride", "decoder", "separable", "scales", "flip", "mIoU", "multiply-adds, 1e9"),
    (
        (16, 16, False, False, 1, False, 79.17, 68.00),
        (16, 16, False, False, 6, False, 80.57, 601.74),
        (16, 16, False, False, 6, True, 80.79, 1203.34),
        (16, 8, False, False, 1, False, 79.64, 240.85),
        (16, 8, False, False, 6, False, 81.15, 2149.91),
        (16, 8, False, False, 6, True, 81.34, 4299.68),
        (16, 16, True, False, 1, False, 79.93, 89.76),
        (16, 16, True, False, 6, False, 81.38, 790.12),
        (16, 16, True, False, 6, True, 81.44, 1580.10),
        (16, 8, True, False, 1, False, 80.22, 262.59),
        (16, 8, True, False, 6, False, 81.60, 2338.15),
        (16, 8, True, False, 6, True, 81.63, 4676.16),
        (16, 16, True, True, 1, False, 79.79, 54.17),
        (16, 16, True, True, 6, True, 81.21, 928.81),
        (16, 8, True, True, 1, False, 80.02, 177.10),
        (16, 8, True, True, 6, True, 81.39, 3055.35),
    ),
)  # fmt: skip

V3PLUS_LOW_LEVEL = PaperTable(
    "Channels of the decoder's 1x1 on low-level features, mIoU on VOC val", f"{V3PLUS}, table 1",
    ("channels", "mIoU"), ((8, 77.61), (16, 77.92), (32, 78.16), (48, 78.21), (64, 77.94)),
)  # fmt: skip

V3PLUS_DECODER = PaperTable(
    "Structure of the decoder, mIoU on VOC val", f"{V3PLUS}, table 2", ("features", "convolutions", "mIoU"),
    (
        ("conv2", "one 3x3, 256", 78.21),
        ("conv2", "two 3x3, 256", 78.85),
        ("conv2", "three 3x3, 256", 78.02),
        ("conv2", "one 3x3, 128", 77.25),
        ("conv2", "one 1x1, 256", 78.07),
        ("conv2 and conv3", "3x3, 256", 78.61),
    ),
)  # fmt: skip

V3PLUS_IMAGENET = PaperTable(
    "Error on ImageNet val, %", f"{V3PLUS}, table 4", ("network", "top-1", "top-5"),
    (("ResNet-101", 22.40, 6.02), ("modified Xception", 20.19, 5.17)),
)  # fmt: skip

RESNET_FLOPS = PaperTable(
    "Multiply-adds of an image of 224 x 224", f"{RESNET}, table 1", ("network", "multiply-adds, 1e9"),
    (("resnet18", 1.8), ("resnet34", 3.6), ("resnet50", 3.8), ("resnet101", 7.6), ("resnet152", 11.3)),
)  # fmt: skip

DRN_IMAGENET = PaperTable(
    "ResNets and DRNs: parameters, top-1 error on ImageNet val (%)", f"{DRN}; errors as in its code, fyu/drn",
    ("network", "parameters, M", "top-1"),
    (
        ("drn-a-18", 11.7, 28.0), ("drn-c-26", 21.1, 24.9), ("drn-a-34", 21.8, 24.8), ("drn-c-42", 31.2, 22.9),
        ("drn-a-50", 25.6, 22.9), ("resnet101", 44.5, 22.4),
    ),
)  # fmt: skip

DENSENET_CIFAR = PaperTable(
    "DenseNets on CIFAR-10 with augmentation", f"{DENSENET}, table 2",
    ("form", "depth", "growth rate", "parameters, M", "error, %"),
    (
        ("plain", 40, 12, 1.0, 5.24), ("plain", 100, 12, 7.0, 4.10), ("plain", 100, 24, 27.2, 3.74),
        ("BC", 100, 12, 0.8, 4.51), ("BC", 250, 24, 15.3, 3.62), ("BC", 190, 40, 25.6, 3.46),
    ),
)  # fmt: skip

PSPNET_POOLING = PaperTable(
    "Pyramid pooling on ADE20K val: bins, maximum or average, dimension reduction (DR)", f"{PSPNET}, table 1",
    ("form", "mIoU", "pixel accuracy"),
    (
        ("baseline", 37.23, 78.01), ("B1, MAX", 39.94, 79.46), ("B1, AVE", 40.07, 79.52), ("B1236, MAX", 40.18, 79.45),
        ("B1236, AVE", 41.07, 79.97), ("B1236, MAX, DR", 40.87, 79.61), ("B1236, AVE, DR", 41.68, 80.04),
    ),
)  # fmt: skip

PSPNET_AUXILIARY = PaperTable(
    "Weight of PSPNet's auxiliary loss, mIoU on ADE20K val", PSPNET, ("weight", "mIoU"),
    ((None, 35.82), (0.3, 37.01), (0.4, 37.23), (0.6, 37.09), (0.9, 36.99)),
)  # fmt: skip
