"""The confusion matrix, and the numbers that segmentation papers read off it."""

from collections.abc import Sequence

import numpy as np

import kernels


class ConfusionMatrix:
    """Counts of (true class, predicted class) over the pixels of a whole data set; void pixels are left out.

    `counts[t, p]` is the number of pixels of true class t that were predicted as p, in int64. All metrics are
    those of the PASCAL VOC devkit (VOCevalseg.m): counts are summed over the set first, ratios taken once.

    Args:
        num_classes: C, the background included.
        ignore_index: the void label in the truth.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255):
        if num_classes < 1:
            raise ValueError(f"ConfusionMatrix: num_classes={num_classes}, expected at least 1")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, truth, prediction) -> None:
        """Adds the pixels of one image, or of a batch; they are counted where the prediction lies.

        Args:
            truth: integer labels of any shape; `ignore_index` marks void.
            prediction: integer labels of the same shape, all in 0..C-1, on void pixels too.

        Raises:
            TypeError: one of them is not an integer array.
            ValueError: the shapes differ, or a label is out of range.
        """
        device = kernels.device_of(prediction)
        k = kernels.load(device)
        counts = k.confusion_matrix(kernels.to_device(truth, device), prediction, self.num_classes, self.ignore_index)
        self.counts += k.to_numpy(counts)

    def iou(self) -> np.ndarray:
        """Intersection over union of each class: IoU_c = n_cc / (sum_p n_cp + sum_t n_tc - n_cc).

        Returns:
            (C,) float64; NaN for a class that is neither in the truth nor in the predictions.
        """
        hits = np.diag(self.counts)
        return _ratio(hits, self.counts.sum(axis=1) + self.counts.sum(axis=0) - hits)

    def mean_iou(self) -> float:
        """Mean IoU over the classes that have one: predicted but never true counts as 0, absent not at all.

        On the whole VOC set this is the official number; on a small subset the devkit would return NaN.
        """
        return known_mean(self.iou())

    def classes_present(self) -> int:
        """Number of classes in the truth or the predictions: those that the mean IoU is taken over."""
        return int(np.isfinite(self.iou()).sum())

    def classes_in_truth(self) -> int:
        """Number of classes in the truth: those that the mean accuracy is taken over."""
        return int(self.counts.any(axis=1).sum())

    def pixel_accuracy(self) -> float:
        """Share of the non-void pixels that are right: sum_c n_cc / sum_tp n_tp."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    def class_accuracy(self) -> np.ndarray:
        """Recall of each class, n_cc / sum_p n_cp; (C,) float64, NaN for a class that is not in the truth."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=1))

    def mean_accuracy(self) -> float:
        """Mean of `class_accuracy` over the classes in the truth ("mean acc." of FCN)."""
        return known_mean(self.class_accuracy())

    def frequency_weighted_iou(self) -> float:
        """IoU of each class, weighted by its share of the true pixels ("f.w. IU" of FCN).

        Source: Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation", section 5.
        """
        share = self.truth_share()
        return float((share * np.nan_to_num(self.iou())).sum())  # NaN without pixels; an absent class has share 0

    def truth_share(self) -> np.ndarray:
        """Share of the non-void pixels that belong to each class: sum_p n_cp / sum_tp n_tp; (C,) float64."""
        return _ratio(self.counts.sum(axis=1), self.counts.sum())

    def largest_prediction(self) -> tuple[int, float]:
        """The class predicted most often, and its share of the non-void pixels."""
        predicted = self.counts.sum(axis=0)
        top = int(predicted.argmax())
        return top, float(_ratio(predicted[top], self.counts.sum()))

    def summary(self) -> str:
        """One line: mean IoU with the number of classes behind it, and pixel accuracy."""
        return (
            f"mIoU {percent(self.mean_iou())} ({self.classes_present()} of {self.num_classes} classes "
            f"present), pixel accuracy {percent(self.pixel_accuracy())}"
        )

    def table(self, class_names: Sequence[str]) -> str:
        """The per-class table as text: class, IoU, accuracy and share of the true pixels, in percent.

        Raises:
            ValueError: the number of names is not C.
        """
        if len(class_names) != self.num_classes:
            raise ValueError(f"ConfusionMatrix: {len(class_names)} names for {self.num_classes} classes")
        width = max(len("mean"), *(len(name) for name in class_names))
        lines = [f"{'class':<{width}}  {'IoU %':>7}  {'acc. %':>7}  {'pixels %':>8}"]
        columns = zip(class_names, self.iou(), self.class_accuracy(), self.truth_share(), strict=True)
        for name, iou, accuracy, share in columns:
            lines.append(f"{name:<{width}}  {percent(iou):>7}  {percent(accuracy):>7}  {percent(share):>8}")
        lines.append("-" * len(lines[0]))
        means = percent(self.mean_iou()), percent(self.mean_accuracy())
        lines.append(f"{'mean':<{width}}  {means[0]:>7}  {means[1]:>7}  {'':>8}".rstrip())
        present, true = self.classes_present(), self.classes_in_truth()
        if true < self.num_classes:
            lines[-1] += f"  (IoU over {present}, accuracy over {true} of {self.num_classes} classes)"
        return "\n".join(lines)


def image_text(mean_iou: float, classes_present: int, pixel_accuracy: float) -> str:
    """The scores of one image in words, such as "mIoU 63.2 over 4 classes, 91.0 % of pixels right"."""
    if not classes_present:
        return "no labelled pixels"
    classes = "1 class" if classes_present == 1 else f"{classes_present} classes"
    return f"mIoU {100 * mean_iou:.1f} over {classes}, {100 * pixel_accuracy:.1f} % of pixels right"


def percent(value: float) -> str:
    """0.6215 as '62.15'; NaN, the value of a class without pixels, as 'n/a'."""
    return f"{100 * value:.2f}" if np.isfinite(value) else "n/a"


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole in float64, NaN where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), whole)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def known_mean(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN, without a warning, when there is none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
