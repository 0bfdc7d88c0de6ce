"""What a training run warns of: at its start, of batches without labels, and of predictions that are all one class."""

import argparse
import math

import kernels
from minideeplab import models
from minideeplab.autograd import Tensor, no_grad
from minideeplab.cli import command_line, counted, data_options
from minideeplab.data import label_warnings
from minideeplab.data.statistics import shared_images
from minideeplab.data.transforms import side_of_copies, view_warning
from minideeplab.evaluation import ConfusionMatrix, percent
from minideeplab.nn import BatchNorm2d
from minideeplab.nn.module import observing

ONE_CLASS_SHARE, ONE_CLASS_EPOCHS = 0.995, 3
FEW = 5  # validation images


def start_warnings(args: argparse.Namespace, model, train_set, val_set, total_steps: int, ranks: int = 1) -> list[str]:
    """Sentences about what a run would learn badly, known before its first step; `ranks` share each batch."""
    found = label_warnings(train_set)
    if (shared := len(shared_images(train_set, val_set))) > 0:
        both = f"{counted(shared, 'image')} {'is' if shared == 1 else 'are'} in both splits"
        found.append(f"{both}, the validation numbers will be too good")
    if len(val_set) < FEW:
        found.append(
            f"{counted(len(val_set), 'validation image')} alone will choose best.npz: the score changes by many points "
            "by chance. Hold out more images, and compare best.npz with last.npz"
        )
    if untrained := rates_beyond_crops(model, args.crop_size):
        remedy = " or smaller --atrous-rates" if "atrous_rates" in models.options_of(args.model) else ""
        found.append(
            f"crops of {args.crop_size} are too small for the atrous rates {untrained}: their outer taps see "
            f"only padding and learn nothing. Choose larger crops{remedy}"
        )
    if sentence := _small_views(args, train_set):
        found.append(sentence)
    together = args.batch_size // args.accumulate // (ranks if args.sync_bn == "off" else 1)  # in one batch norm
    if names := norms_of_one_value(model.config, together, args.crop_size):
        parts = f"--batch-size {args.batch_size}" + (f" in {args.accumulate} parts" if args.accumulate > 1 else "")
        which = f"'{names[0]}'" + (f" and {len(names) - 1} more" if names[1:] else "")
        found.append(
            f"with {parts} and crops of {args.crop_size} the batch norm {which} sees one value "
            f"of each channel, which has no variance: its statistics are never learnt, and it normalises with those it "
            f"began with. Take --batch-size {2 * args.batch_size} or more"
        )
    if args.warmup > total_steps:
        found.append(
            f"--warmup {args.warmup} is longer than the run of {total_steps} steps: it ends before the learning rate "
            f"reaches {args.lr:g}"
        )
    if args.freeze_bn and not args.init_from:
        found.append(
            "--freeze-bn without --init-from keeps the statistics of a network that has seen no image: nothing is "
            "normalised"
        )
    return found


def _small_views(args: argparse.Namespace, train_set) -> str | None:
    sentence = view_warning(args.crop_size, args.scale_range, train_set.counts.sizes)
    longest = side_of_copies(args.crop_size)
    smaller = command_line("inspect_data", *data_options(args), "--convert", "NEW", "--longest-side", longest)
    return f"{sentence}. Make smaller copies: {smaller}" if sentence else None


def rates_beyond_crops(model, crop_size: int) -> list[int]:
    """Rates of the ASPP that reach beyond the feature map of a crop."""
    side = math.ceil(crop_size / model.output_stride)
    return [rate for rate in sorted(set(getattr(model, "rates", ()))) if rate >= side]


def norms_of_one_value(config: dict, batch_size: int, crop_size: int) -> list[str]:
    """Names of the batch norms that see N H W = 1 values of a channel, such as that of image pooling for one image.

    Cost: for a batch of one, a forward pass on arrays without numbers.
    """
    if batch_size > 1:
        return []
    options = {key: value for key, value in config.items() if key not in ("name", "seed")}
    model = models.create(config["name"], **options).to("shapes")
    names = {id(module): name for name, module in model.named_modules()}
    found = []

    def observe(module, inputs):
        if isinstance(module, BatchNorm2d) and math.prod(inputs[0].shape[:3]) == 1:
            found.append(names[id(module)])
        return module.forward(*inputs)

    images = Tensor(kernels.load("shapes").empty((batch_size, crop_size, crop_size, 3)))
    with no_grad(), observing(observe):
        (model.heads if callable(getattr(model, "heads", None)) else model)(images)
    return found


class Watch:
    """What a run has seen since it last spoke: batches without a label, and validations that are nearly all one class.

    Args:
        args: of the run; train_set: with counts of its labels.
    """

    def __init__(self, args: argparse.Namespace, train_set):
        self.args, self.train_set = args, train_set
        self.batches, self.void_batches = 0, 0
        self.largest: list[tuple[int, float]] = []  # of each validation: the class predicted most, and its share

    def add_batch(self, weight: float) -> None:
        """Notes the weight of a batch's loss: 0 where all of its pixels are void."""
        self.batches += 1
        self.void_batches += weight == 0

    def sentences(self, confusion: ConfusionMatrix | None) -> list[str]:
        """What there is to say after some epochs, and their validation if there was one."""
        found = [self._void_batches()] if self.void_batches else []
        self.batches, self.void_batches = 0, 0
        if confusion:
            self.largest.append(confusion.largest_prediction())
            if self._is_one_class():
                found.append(self._one_class())
                self.largest.clear()  # it is not said again at each validation
        return found

    def _void_batches(self) -> str:
        return (
            f"{self.void_batches} of the last {self.batches} batches had no labelled pixel: they taught nothing. "
            f"{percent(self.train_set.counts.void_share)} % of the training pixels are void"
            f" ({self.train_set.ignore_index}); is that right? Larger crops or batches meet more labels"
        )

    def _is_one_class(self) -> bool:
        last = self.largest[-ONE_CLASS_EPOCHS:]
        same = len(last) == ONE_CLASS_EPOCHS and len({label for label, _ in last}) == 1
        return same and min(last)[1] > ONE_CLASS_SHARE

    def _one_class(self) -> str:
        label, args, counts = self.largest[-1][0], self.args, self.train_set.counts
        share = counts.pixels[label] / max(1, counts.labelled)
        look = command_line("inspect_data", *data_options(args), "--split", args.split)
        weights = "" if args.class_weights != "none" else " with --class-weights root, or"
        return (
            f"the network predicts only '{self.train_set.class_names[label]}': over {percent(ONE_CLASS_SHARE)} % of "
            f"the pixels, {ONE_CLASS_EPOCHS} validations in a row. In the training masks it has {percent(share)} %. "
            f"If more steps do not help, start anew{weights} with a higher rate such as --lr {3 * args.lr:g} "
            f"(--find-lr suggests one). If that does not help, look at the masks: {look}"
        )
