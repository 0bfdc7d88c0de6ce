"""What all networks for segmentation share: small logits, enlarged to the image; and the loss that trains them."""

from minideeplab.autograd import ops
from minideeplab.cost import trace
from minideeplab.nn import Module, losses

SMALLEST_SIDE = 33  # pixels: at output stride 16 that leaves 3 x 3 positions


class Segmenter(Module):
    """(N, H, W, 3) images -> (N, H, W, num_classes) logits, for any H, W >= 33.

    A subclass sets `output_stride` and gives `small_logits(x)`, (N, H, W, 3) -> (N, h, w, num_classes) logits of fewer
    pixels. With aligned corners they are enlarged bilinearly; where H and W are k * output_stride + 1
    (513 = 32 * 16 + 1) every logit then lies on the pixel in the middle of what it saw, as long as all windows have a
    middle: 2x2 poolings (VGG-16, DenseNet) move it. Other images are padded at the bottom and right up to the next such
    size, with zeros, the mean colour of normalised images, and the logits are cropped.

    Attributes:
        corner: 1 for sizes of k * output_stride + 1, 0 for networks whose maps have the size k * output_stride.
        align_corners: how logits are enlarged; without it images of any size are taken as they are.
    """

    corner, align_corners = 1, True

    def forward(self, x):
        padded = self._padded(x)
        return self._enlarged(self.small_logits(padded), padded, x)

    def training_logits(self, x):
        """[(weight, small logits)] of all heads that training uses; the first is that of inference."""
        return [(1.0, self.small_logits(x))]

    def heads(self, x):
        """The enlarged logits of all heads that training uses, for counting."""
        padded = self._padded(x)
        return [self._enlarged(logits, padded, x) for _, logits in self.training_logits(padded)]

    def trace(self, x, channels=None):
        """Runs the network on images and describes each layer in order, see `cost.trace`: a list of `TracedLayer`."""
        return trace(self, x, channels)

    def _enlarged(self, logits, padded, x):
        logits = ops.to_float32(logits)
        if logits.shape[1:3] != padded.shape[1:3]:
            logits = ops.resize_bilinear(logits, *padded.shape[1:3], self.align_corners)
        return logits if padded is x else ops.crop(logits, 0, 0, *x.shape[1:3])

    def loss(self, x, labels, class_weights=None, ignore_index=255, hard_share=1.0):
        """The sum of `losses.cross_entropy` over all heads with their weights; with aligned corners no enlarged logits.

        Args:
            x: (N, H, W, 3) tensor; labels: (N, H, W) integer array.
            class_weights: (num_classes,) numbers, or None for ones; ignore_index: the label of void pixels.
            hard_share: below 1, this share of each image's pixels, see `losses.hard_pixels`; the first head chooses
                them for all.

        Returns:
            `Loss`: all heads have the same labels, so that one weight holds for their sum.
        """
        padded = self._padded(x)
        self._check_labels(x, labels)
        total = None
        for weight, logits in self.training_logits(padded):
            logits = ops.to_float32(logits)
            if not self.align_corners:
                logits = self._enlarged(logits, padded, x)
            size = padded.shape[1:3] if self.align_corners else None
            if hard_share < 1 and total is None:
                labels = losses.hard_pixels(logits, labels, hard_share, ignore_index, class_weights, size)
            loss = losses.cross_entropy(logits, labels, ignore_index, class_weights, size)
            weighted = loss if weight == 1 else weight * loss
            total = weighted if total is None else total + weighted
        return losses.Loss(total, loss.weight)

    @staticmethod
    def _check_labels(x, labels):
        if tuple(labels.shape) != tuple(x.shape[:3]):
            raise ValueError(f"loss: labels must have shape {tuple(x.shape[:3])}, got {tuple(labels.shape)}")

    def _padded(self, x):
        if len(x.shape) != 4:
            raise ValueError(f"{type(self).__name__}: images must be (N, H, W, 3), got shape {tuple(x.shape)}")
        _, h, w, _ = x.shape
        if min(h, w) < SMALLEST_SIDE:
            least = f"{SMALLEST_SIDE}x{SMALLEST_SIDE}"
            raise ValueError(
                f"{type(self).__name__}: images must be at least {least}, got {h}x{w}; enlarge or pad them"
            )
        if not self.align_corners:
            return x
        down, right = (-(side - self.corner) % self.output_stride for side in (h, w))
        return ops.pad(x, 0, down, 0, right) if down or right else x
