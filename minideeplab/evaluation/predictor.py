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
from minideeplab.errors import UsageError
from minideeplab.evaluation.metrics import ConfusionMatrix
from minideeplab.models.segmenter import SMALLEST_SIDE

TILE_STEP = 2 / 3  # of a tile's side, from one tile to the next (PSPNet's evaluation)


class Predictor:
    """What a network says of images.

    One view of an image gives logits. Several views are averaged, as in the papers' multi-scale evaluation:

        P = mean over scales s, with `flip` also over both directions, of softmax(resize(logits(resize(image, s))))

    Args:
        model: by `models.build`, on any device; it runs in evaluation mode, and is left in the mode that it had.
        scales: factors on height and width of the image.
        flip: also see each image mirrored left and right.
        crf: settings of a dense CRF by name, such as "deeplab-v2", that refine the result; None for no CRF.
        tile: side in pixels of the squares that larger images are cut into; a tile begins at most two thirds of a side
            after the one before, and probabilities are averaged where tiles overlap. None: the whole image at once.

    Raises:
        ValueError: an argument that makes no sense.

    Cost: a forward pass for each view, with `tile` for each tile of it, but memory for the activations of one tile.

    Source: DeepLab v3 (arXiv 1706.05587), section 4.1, "multi-scale inputs and left-right flipped images".
    """

    def __init__(self, model, scales=(1,), flip=False, crf=None, tile=None):
        are_numbers = isinstance(scales, Sequence) and all(isinstance(scale, Real) for scale in scales)
        if not are_numbers or not scales or not all(0 < scale < np.inf for scale in scales):
            raise ValueError(f"Predictor: scales must be one or more numbers above 0, got {scales!r}")
        if tile is not None and not (isinstance(tile, Integral) and tile >= SMALLEST_SIDE):
            raise ValueError(f"Predictor: tile must be a whole number of at least {SMALLEST_SIDE} pixels, got {tile!r}")
        self.model, self.scales, self.flip, self.crf, self.tile = model, tuple(scales), flip, crf, tile
        if crf is not None:
            dense_crf.preset_of(crf)

    def __call__(self, image: np.ndarray) -> "Prediction":
        """What there is to know of one image: (H, W, 3) uint8 RGB of any size.

        Raises:
            TypeError, ValueError: something else, such as a grey image or floats.
        """
        if not isinstance(image, np.ndarray):
            raise TypeError(f"Predictor: the image must be a NumPy array, got {type(image).__name__}")
        if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ValueError(f"Predictor: the image must be (H, W, 3) RGB, got shape {image.shape}; see read_image")
        pixels = normalise(image)
        with self.model.evaluating(), no_grad():
            views = [
                (scale, mirrored) for scale in self.scales for mirrored in ([False, True] if self.flip else [False])
            ]
            if len(views) == 1 and views[0] == (1, False) and not self._is_tiled(image.shape):
                return Prediction(self, image, self._logits(pixels), "logits")
            total = None
            for scale, mirrored in views:
                view = self._view(pixels, scale, mirrored)
                total = view if total is None else total + view
            return Prediction(self, image, total * (1 / len(views)), "probabilities")

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """(H, W, K) float32 of an image (H, W, 3) uint8, after the CRF if there is one."""
        return self(image).probabilities

    def labels(self, image: np.ndarray) -> np.ndarray:
        """(H, W) uint8 of an image (H, W, 3) uint8, after the CRF if there is one; at most 256 classes."""
        return kernels.to_device(self(image).labels, "cpu")[0]

    def over(self, dataset, report: Callable[[], None] = lambda: None) -> Iterator["Prediction"]:
        """A prediction for each sample of a data set, with its `number` and its `truth`; `report` after each."""
        for number in range(len(dataset)):
            image, truth = dataset.sample(number)
            prediction = self(image)
            prediction.number, prediction.truth = number, truth
            yield prediction
            report()

    def confusion(self, dataset, report: Callable[[], None] = lambda: None, see=None) -> ConfusionMatrix:
        """The confusion matrix over all pixels of a data set.

        Args:
            dataset: whose samples are counted; report: called after each image.
            see: called with each prediction and the confusion matrix of its image alone, None for nobody.
        """
        confusion = ConfusionMatrix(dataset.num_classes, dataset.ignore_index)
        for prediction in self.over(dataset, report):
            image = ConfusionMatrix(dataset.num_classes, dataset.ignore_index)
            image.update(prediction.truth[None], prediction.labels)
            confusion.counts += image.counts
            if see is not None:
                see(prediction, image)
        return confusion

    def _view(self, pixels, scale, mirrored):
        """Probabilities (1, H, W, K) of pixels (H, W, 3), seen at a scale, perhaps mirrored."""
        height, width = pixels.shape[:2]
        seen = np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
        if scale != 1:
            size = tuple(max(1, round(scale * side)) for side in (height, width))
            seen = ops.resize_bilinear(Tensor(seen[None]), *size).numpy()[0]
        view = self._tiled(seen) if self._is_tiled(seen.shape) else ops.softmax(self._logits(seen))
        if scale != 1:
            view = ops.resize_bilinear(view, height, width)
        if mirrored:
            view = Tensor(np.ascontiguousarray(view.numpy()[:, :, ::-1])).to(self.model.device)
        return view

    def _logits(self, pixels):
        """(1, H, W, K) on the model's device; sides below 33 pixels are padded for the network."""
        height, width = pixels.shape[:2]
        below, right = max(0, SMALLEST_SIDE - height), max(0, SMALLEST_SIDE - width)
        pixels = np.pad(pixels, ((0, below), (0, right), (0, 0)))  # the mean colour is 0 once normalised
        logits = self.model(Tensor(pixels[None]).to(self.model.device))
        return ops.crop(logits, 0, 0, height, width) if below or right else logits

    def _is_tiled(self, shape):
        return self.tile is not None and max(shape[:2]) > self.tile

    def _tiled(self, pixels):
        """Probabilities (1, H, W, K): the mean over the tiles that see a pixel."""
        total, count = None, np.zeros((*pixels.shape[:2], 1), np.float32)
        for top in _starts(pixels.shape[0], self.tile):
            for left in _starts(pixels.shape[1], self.tile):
                place = np.s_[top : top + self.tile, left : left + self.tile]
                seen = ops.softmax(self._logits(np.ascontiguousarray(pixels[place]))).numpy()[0]
                if total is None:
                    total = np.zeros((*pixels.shape[:2], seen.shape[-1]), np.float32)
                total[place] += seen
                count[place] += 1
        return Tensor((total / count)[None]).to(self.model.device)


class Prediction:
    """What a network says of one image; what costs time is found when it is asked for.

    Attributes:
        image: (H, W, 3) uint8; scores: (1, H, W, K) tensor on the model's device; kind: what the scores are, "logits"
            or "probabilities".
        number, truth: of a sample of a data set: its place in it, and its labels (H, W) uint8.
    """

    def __init__(self, predictor: Predictor, image: np.ndarray, scores: Tensor, kind: str):
        self.predictor, self.image, self.scores, self.kind = predictor, image, scores, kind
        self.number, self.truth = None, None

    @cached_property
    def plain_labels(self):
        """(1, H, W) uint8 on the model's device: the largest score, before any CRF."""
        return self.scores.argmax()

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


def _starts(side, tile):
    """Where tiles begin along a side: at equal distances of at most two thirds of a tile, the last one at the end."""
    if side <= tile:
        return [0]
    count = int(np.ceil((side - tile) / (TILE_STEP * tile))) + 1
    return np.linspace(0, side - tile, count).round().astype(int).tolist()
