"""A trained network on images of any size: scores, probabilities and labels, of one image or of a whole data set."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from numbers import Integral, Real

import numpy as np

import kernels
from minideeplab import crf as dense_crf
from minideeplab.autograd import Tensor, no_grad, ops
from minideeplab.crf.presets import LEAST_PROBABILITY
from minideeplab.data import normalise
from minideeplab.distributed import ALONE, Alone
from minideeplab.errors import UsageError
from minideeplab.evaluation.metrics import ConfusionMatrix
from minideeplab.evaluation.tiles import ROWS, ViewRows, scaled_size, side_of
from minideeplab.models.segmenter import SMALLEST_SIDE

FUSIONS = ("mean", "max")


class Predictor:
    """What a network says of images.

    One view of an image gives logits. Several views are fused: averaged, as in the evaluation of DeepLab v3, or the
    largest score of each class is taken, as DeepLab v2 does:

        "mean": P = mean over scales s, with `flip` over both directions, of softmax(resize(logits(resize(image, s))))
        "max":  P = softmax of the maximum over the same views of resize(logits(resize(image, s)))

    A large image is cut into tiles that overlap by a third at least, and scores are averaged where they do. Labels are
    then decided row by row: all scores of the image are never held at once, unless somebody asks for them. A result
    equals that of the whole image at pixels that lie farther from the inner borders of all tiles that hold them than
    the network sees (half its receptive field), for networks with aligned corners and tiles of k * output_stride + 1;
    what is pooled over the whole image is pooled over the tile instead.

    Args:
        model: by `models.build`, on any device; it runs in evaluation mode, and is left in the mode that it had.
        scales: factors on height and width of the image.
        flip: also see each image mirrored left and right.
        crf: settings of a dense CRF by name, such as "deeplab-v2", that refine the result; None for no CRF.
        tile: side in pixels of the tiles; views that are no larger are seen at once. "auto": tiles of 769 pixels for
            views of more than 8 megapixels. None: every view at once.
        fusion: "mean" or "max".

    Raises:
        ValueError: an argument that makes no sense.

    Cost: a forward pass for each view, with tiles about 2.25 for each. Memory for the activations of one tile, and for
    each view W x tile x K numbers of 4 bytes.

    Source: DeepLab v3 (arXiv 1706.05587), section 4.1, "multi-scale inputs and left-right flipped images"; v2 (arXiv
    1606.00915), section 3.1: "the maximum response across the different scales".
    """

    def __init__(self, model, scales=(1,), flip=False, crf=None, tile="auto", fusion="mean"):
        are_numbers = isinstance(scales, Sequence) and all(isinstance(scale, Real) for scale in scales)
        if not are_numbers or not scales or not all(0 < scale < np.inf for scale in scales):
            raise ValueError(f"Predictor: scales must be one or more numbers above 0, got {scales!r}")
        if tile not in (None, "auto") and not (isinstance(tile, Integral) and tile >= SMALLEST_SIDE):
            raise ValueError(f"Predictor: tile must be a whole number of at least {SMALLEST_SIDE} pixels, got {tile!r}")
        if fusion not in FUSIONS:
            raise ValueError(f"Predictor: fusion must be one of {', '.join(FUSIONS)}, got {fusion!r}")
        self.model, self.scales, self.flip, self.crf, self.tile = model, tuple(scales), flip, crf, tile
        self.fusion = fusion
        if crf is not None:
            dense_crf.preset_of(crf)

    @property
    def views(self) -> list[tuple[float, bool]]:
        """(scale, mirrored?) of each view."""
        return [(scale, mirrored) for scale in self.scales for mirrored in ([False, True] if self.flip else [False])]

    def __call__(self, image: np.ndarray) -> "Prediction":
        """What there is to know of one image: (H, W, 3) uint8 RGB of any size.

        Raises:
            TypeError, ValueError: something else, such as a grey image or floats.
        """
        if not isinstance(image, np.ndarray):
            raise TypeError(f"Predictor: the image must be a NumPy array, got {type(image).__name__}")
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"Predictor: the image must be (H, W, 3) RGB, got shape {image.shape}; see read_image")
        if image.dtype != np.uint8:
            raise TypeError(f"Predictor: the image must be uint8, got {image.dtype}; see read_image")
        if self.is_tiled(image.shape):
            return Prediction(self, image, "probabilities" if self.fusion == "mean" else "logits")
        pixels, views = normalise(image), self.views
        with self.model.evaluating(), no_grad():
            if views == [(1, False)]:
                return Prediction(self, image, "logits", self._logits(pixels))
            total = None
            for scale, mirrored in views:
                view = self._view(pixels, scale, mirrored)
                total = view if total is None else self._fused(total, view)
            if self.fusion == "max":
                return Prediction(self, image, "logits", total)
            return Prediction(self, image, "probabilities", total * (1 / len(views)))

    def is_tiled(self, shape: Sequence[int]) -> bool:
        """Whether an image (H, W, 3), or a view of it, is cut into tiles."""
        return any(side_of(self.tile, *scaled_size(shape, scale)) for scale in self.scales)

    def rows(self, image: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, scores (rows, W, K) float32) of an image in tiles from the top down, fused over its views."""
        stride = getattr(self.model, "output_stride", 1)
        views = [
            ViewRows(image, scale, mirrored, side_of(self.tile, *scaled_size(image.shape, scale)), stride, normalise,
                     self._scores)
            for scale, mirrored in self.views
        ]  # fmt: skip
        for top in range(0, len(image), ROWS):
            bottom = min(top + ROWS, len(image))
            total = views[0].rows(top, bottom)
            for view in views[1:]:
                scores = view.rows(top, bottom)
                total = np.maximum(total, scores) if self.fusion == "max" else total + scores
            yield top, total if self.fusion == "max" else total * np.float32(1 / len(views))

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """(H, W, K) float32 of an image (H, W, 3) uint8, after the CRF if there is one."""
        return self(image).probabilities

    def labels(self, image: np.ndarray) -> np.ndarray:
        """(H, W) uint8 of an image (H, W, 3) uint8, after the CRF if there is one; at most 256 classes."""
        return kernels.to_device(self(image).labels, "cpu")[0]

    def over(self, dataset, report: Callable[[], None] = lambda: None, group: Alone = ALONE) -> Iterator["Prediction"]:
        """A prediction for each sample of a data set, with its `number` and its `truth`; `report` after each.

        Of several ranks each has its share of the samples.
        """
        for number in group.share(range(len(dataset))):
            image, truth = dataset.sample(number)
            prediction = self(image)
            prediction.number, prediction.truth = number, truth
            yield prediction
            report()

    def confusion(
        self, dataset, report: Callable[[], None] = lambda: None, see=None, group: Alone = ALONE
    ) -> ConfusionMatrix:
        """The confusion matrix over all pixels of a data set; the same on all ranks, which share the samples.

        Args:
            dataset: whose samples are counted; report: called after each image of this rank.
            see: called with each prediction of this rank and the confusion matrix of its image alone, None for nobody.
            group: of the ranks, which all call this.

        Raises:
            DataError: a sample that cannot be read; ElsewhereError on the other ranks.

        Cost: of several ranks one sum of C^2 integers.
        """
        confusion = ConfusionMatrix(dataset.num_classes, dataset.ignore_index)
        with group.agreed():
            for prediction in self.over(dataset, report, group):
                if see is not None and prediction.in_tiles:
                    _ = prediction.confidence  # found in the same pass as the labels: whoever sees may ask for it
                image = ConfusionMatrix(dataset.num_classes, dataset.ignore_index)
                image.update(prediction.truth[None], prediction.labels)
                confusion.counts += image.counts
                if see is not None:
                    see(prediction, image)
        group.sum(confusion.counts)
        return confusion

    def _view(self, pixels, scale, mirrored):
        """What is fused, (1, H, W, K), of pixels (H, W, 3), seen at a scale, perhaps mirrored."""
        height, width = pixels.shape[:2]
        seen = np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
        if scale != 1:
            seen = ops.resize_bilinear(Tensor(seen[None]), *scaled_size(pixels.shape, scale)).numpy()[0]
        view = self._logits(seen) if self.fusion == "max" else ops.softmax(self._logits(seen))
        if scale != 1:
            view = ops.resize_bilinear(view, height, width)
        if mirrored:
            view = Tensor(np.ascontiguousarray(view.numpy()[:, :, ::-1])).to(self.model.device)
        return view

    def _fused(self, total, view):
        return total + ops.relu(view - total) if self.fusion == "max" else total + view

    def _scores(self, pixels):
        """What is fused, (h, w, K) float32 in host memory, of the normalised pixels of a tile."""
        with self.model.evaluating(), no_grad():
            logits = self._logits(pixels)
            return (logits if self.fusion == "max" else ops.softmax(logits)).numpy()[0]

    def _logits(self, pixels):
        """(1, H, W, K) on the model's device; sides below 33 pixels are padded for the network."""
        height, width = pixels.shape[:2]
        below, right = max(0, SMALLEST_SIDE - height), max(0, SMALLEST_SIDE - width)
        pixels = np.pad(pixels, ((0, below), (0, right), (0, 0)))  # the mean colour is 0 once normalised
        logits = self.model(Tensor(pixels[None]).to(self.model.device))
        return ops.crop(logits, 0, 0, height, width) if below or right else logits


class Prediction:
    """What a network says of one image; what costs time is found when it is asked for.

    Attributes:
        image: (H, W, 3) uint8; kind: what the scores are, "logits" or "probabilities".
        number, truth: of a sample of a data set: its place in it, and its labels (H, W) uint8.
    """

    def __init__(self, predictor: Predictor, image: np.ndarray, kind: str, scores: Tensor | None = None):
        self.predictor, self.image, self.kind = predictor, image, kind
        self.number, self.truth = None, None
        if scores is not None:
            self.scores = scores

    @property
    def in_tiles(self) -> bool:
        """Whether the scores are not held, as those of an image in tiles, unless somebody asks for them."""
        return "scores" not in vars(self)

    @cached_property
    def scores(self) -> Tensor:
        """(1, H, W, K) on the model's device, fused over the views; of an image in tiles this takes all the memory."""
        return Tensor(np.concatenate([rows for _, rows in self._rows()])[None]).to(self.predictor.model.device)

    @cached_property
    def plain_labels(self):
        """(1, H, W) uint8 on the model's device: the largest score, before any CRF."""
        if not self.in_tiles:
            return self.scores.argmax()
        for _ in self._rows():
            pass
        return self.plain_labels  # which has been filled in

    @cached_property
    def confidence(self) -> np.ndarray:
        """(H, W) float32, the probability of the plain labels: max_k p_k.

        Of an image in tiles it takes one pass, which finds the labels, too, and memory for a few rows of scores.
        """
        confidence = np.empty(self.image.shape[:2], np.float32)
        for top, scores in self._rows() if self.in_tiles else [(0, self.scores.numpy()[0])]:
            largest = scores.max(axis=-1)
            if self.kind == "logits":  # 1 / sum_j exp(s_j - max_k s_k)
                largest = 1 / np.exp(scores - largest[..., None]).sum(axis=-1)
            confidence[top : top + len(scores)] = largest
        return confidence

    def _rows(self):
        """As `Predictor.rows`; when all have come, the labels are known."""
        labels = np.empty((1, *self.image.shape[:2]), np.uint8)
        for top, scores in self.predictor.rows(self.image):
            labels[0, top : top + len(scores)] = scores.argmax(axis=-1)
            yield top, scores
        self.plain_labels = kernels.to_device(labels, self.predictor.model.device)

    def probability_rows(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, probabilities (rows, W, K) float32) from the top down, after the CRF if there is one.

        Without a CRF, memory for a few rows of an image in tiles; of other images all rows come at once.
        """
        if self.predictor.crf is not None or not self.in_tiles:
            yield 0, self.probabilities
            return
        for top, scores in self._rows():
            if self.kind == "logits":
                scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
                scores /= scores.sum(axis=-1, keepdims=True)
            yield top, scores

    @cached_property
    def labels(self):
        """(1, H, W) uint8: the most probable label, after the CRF (then in host memory) if there is one."""
        return self.plain_labels if self.predictor.crf is None else self.probabilities.argmax(-1).astype(np.uint8)[None]

    @cached_property
    def probabilities(self) -> np.ndarray:
        """(H, W, K) float32, after the CRF if there is one.

        Raises:
            UsageError: settings of the CRF that do not fit the image.
        """
        crf, device = self.predictor.crf, self.predictor.model.device
        if crf is None:
            with no_grad():
                return ops.softmax(self.scores).numpy()[0] if self.kind == "logits" else self.scores.numpy()[0].copy()
        try:
            return dense_crf.refine(self.scores.numpy()[0], self.image, crf, kind=self.kind, device=device)
        except ValueError as error:
            raise UsageError(f"crf {crf}: {error}") from error

    @property
    def costs(self) -> np.ndarray:
        """(H W, K) float32: -log of the probabilities before any CRF, up to a constant for each pixel.

        Probabilities, where they are averages over views, count as 1e-5 where they are less, as in `refine`.
        """
        scores = np.ascontiguousarray(self.scores.numpy()).reshape(-1, self.scores.shape[-1])
        return -scores if self.kind == "logits" else -np.log(np.maximum(scores, np.float32(LEAST_PROBABILITY)))
