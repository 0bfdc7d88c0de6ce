"""Scores a trained network on a data set: `python -m minideeplab.evaluate --help`, or `minideeplab.evaluate(...)`."""

import argparse
import contextlib
import functools
import itertools
import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import kernels
from minideeplab import cli, figures
from minideeplab.autograd.precision import precision_in_use
from minideeplab.cli.callables import callable_module
from minideeplab.data import SegmentationDataset, open_dataset, require_labels
from minideeplab.distributed import ALONE, Alone, world
from minideeplab.errors import DataError, UsageError
from minideeplab.evaluation import ConfusionMatrix, Prediction, Predictor, percent
from minideeplab.evaluation.scores import PER_IMAGE, ImageScore, Scores, bands_of, number_or_none
from minideeplab.evaluation.submission import Submission
from minideeplab.evaluation.tiles import tiles_text
from minideeplab.figures.scores import save_trimap_curve, save_worst
from minideeplab.files.tables import write_csv
from minideeplab.files.whole import write_text
from minideeplab.weights import Trained, load_trained

WORST = 8  # images on the page of the worst
EXAMPLE = """\
  python -m minideeplab.evaluate --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012 --json scores.json
  python -m minideeplab.evaluate --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012 --scales 0.5 1 1.5 --flip
  python -m minideeplab.evaluate --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012 --output-stride 8 \\
      --trimap 1 2 5 10 20 40 --boundary-f1 --csv scores.csv --pictures pictures
  mpiexec -n 4 python -m minideeplab.evaluate --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012"""


class Evaluation:
    """The scores of a network on one split of a data set.

    Attributes:
        dataset, predictor: what was evaluated, and how it was seen.
        scores: `Scores` of the labels, with the CRF if there is one; plain: of those without it; None without a CRF.
        tiled: number of images that were seen in tiles.
        precision: that was in use, "float32" or "bf16".
    """

    def __init__(self, path, dataset: SegmentationDataset, predictor: Predictor, widths=(), boundary_f1=False, worst=0):
        self.path, self.dataset, self.predictor = path, dataset, predictor
        self.precision = precision_in_use()
        classes = dataset.class_names, dataset.ignore_index
        self.scores = Scores(*classes, widths, boundary_f1)
        self.plain = None if predictor.crf is None else Scores(*classes, widths)
        self.tiled, self._kept, self._worst = 0, {}, worst  # labels of the worst images so far, by their numbers

    @property
    def confusion(self) -> ConfusionMatrix:
        """Over all pixels of the set."""
        return self.scores.confusion

    @property
    def mean_iou(self) -> float:
        """Mean IoU in 0..1 over the classes in the truth or the predictions of the set."""
        return self.confusion.mean_iou()

    @property
    def images(self) -> list[ImageScore]:
        """The scores of each image, in the order of the set."""
        return self.scores.images

    @property
    def trimap(self) -> dict[int, float]:
        """Width of a band around boundaries, in pixels -> mean IoU in it."""
        return self.scores.trimap()

    @property
    def boundary_f1(self) -> float:
        """Mean boundary F1; NaN if it was not asked for."""
        return self.scores.mean_boundary_f1()

    def add(self, prediction: Prediction) -> ImageScore:
        """Counts one prediction of a sample of the data set."""
        dataset, number, truth = self.dataset, prediction.number, prediction.truth
        self.tiled += self.predictor.is_tiled(prediction.image.shape)
        bands = bands_of(truth, list(self.scores.bands), dataset.ignore_index)
        score = self.scores.add(dataset.ids[number], number, truth, prediction.labels, bands)
        if self.plain:
            self.plain.add(dataset.ids[number], number, truth, prediction.plain_labels, bands)
        if self._worst:
            self._kept[number] = kernels.to_device(prediction.labels, "cpu")[0]
            among = {each.number for each in self.scores.worst(self._worst)}
            self._kept = {each: labels for each, labels in self._kept.items() if each in among}
        return score

    def gather(self, group: Alone) -> None:
        """Brings what all ranks have counted to the first one, as if that had seen all images. All ranks call it."""
        for scores, plain, tiled in group.gather((self.scores, self.plain, self.tiled))[1:]:
            self.scores.take_in(scores)
            if self.plain:
                self.plain.take_in(plain)
            self.tiled += tiled
        worst = group.all([score.number for score in self.scores.worst(self._worst)])[0]  # of all, as the first knows
        kept = group.gather({number: labels for number, labels in self._kept.items() if number in worst})
        self._kept = {number: labels for each in kept for number, labels in each.items()}

    def table(self) -> str:
        """The table by class as text."""
        return self.confusion.table(self.dataset.class_names)

    def __str__(self) -> str:
        lines = [self.table()]
        if self.plain:
            lines.append(f"without the CRF: {self.plain.confusion.summary()}")
        lines += [self.confusion.summary(), self.scores.details()]
        for width, band in self.scores.bands.items():
            values = _qualified(band)
            if self.plain:
                values = f"{_qualified(self.plain.bands[width])}, {values} with CRF"
            lines.append(f"mIoU within {cli.counted(width, 'pixel')} of a boundary: {values}")
        if self.tiled:
            lines.append(tiles_text(self.tiled, self.predictor.tile))
        return "\n".join(lines)

    def to_json(self) -> dict:
        """What --json writes; null stands for a ratio without pixels."""
        predictor, more = self.predictor, {}
        if self.plain:
            more = {"crf": predictor.crf, "mean_iou_without_crf": number_or_none(self.plain.confusion.mean_iou())}
            more["pixel_accuracy_without_crf"] = number_or_none(self.plain.confusion.pixel_accuracy())
        if self.trimap:
            more["trimap"] = {str(width): number_or_none(value) for width, value in self.trimap.items()}
            more["trimap_classes_present"] = {str(w): band.classes_present() for w, band in self.scores.bands.items()}
        if self.trimap and self.plain:
            more["trimap_without_crf"] = {
                str(width): number_or_none(value) for width, value in self.plain.trimap().items()
            }
        return more | {
            "checkpoint": str(self.path),
            "data": str(self.dataset.root),
            "split": self.dataset.split,
            "scales": list(predictor.scales),
            "flip": predictor.flip,
            "fusion": predictor.fusion,
            "output_stride": getattr(predictor.model, "output_stride", None),
            "precision": self.precision,
            "images": len(self.images),
            "images_in_tiles": self.tiled,
            **self.scores.as_dict(),
        }

    def write_csv(self, path: str | Path) -> list[Path]:
        """Writes a row for each class to `path`, and one for each image to NAME_images.csv beside it."""
        path = Path(path)
        images = path.with_name(f"{path.stem}_images{path.suffix}")
        write_csv(path, self.scores.class_rows())
        write_csv(images, self.scores.image_rows())
        return [path, images]

    def save_trimap_curve(self, path: str | Path) -> None:
        """Draws mean IoU over the width of the band; with a CRF both curves."""
        curves = {"with CRF" if self.plain else "the network": self.trimap}
        if self.plain:
            curves = {"without CRF": self.plain.trimap(), **curves}
        save_trimap_curve(path, curves, f"{self.dataset.name}, split {self.dataset.split}")

    def save_pictures(self, folder: str | Path) -> None:
        """Draws confusion.png, worst.png and, if there are bands, trimap.png; the folder exists."""
        folder = Path(folder)
        figures.save_confusion(folder / "confusion.png", self.confusion, self.dataset.class_names)
        if self.trimap:
            self.save_trimap_curve(folder / "trimap.png")
        rows = []
        for score in self.scores.worst(self._worst):
            image, truth = self.dataset.sample(score.number)
            rows.append((image, truth, self._kept[score.number], f"{score.id}: {score}"))
        if rows:
            title = f"The {len(rows)} worst of {len(self.images)} images, by mIoU {PER_IMAGE}"
            save_worst(folder / "worst.png", rows, self.dataset, title)


def evaluate(
    checkpoint, data, dataset: str = "auto", split: str = "val", *, limit: int | None = None,
    scales: Sequence[float] = (1.0,), flip: bool = False, fusion: str = "mean", output_stride: int | None = None,
    crf: str | None = None, tile: int | str | None = "auto", trimap: Sequence[int] = (), boundary_f1: bool = False,
    worst: int = WORST, pictures: str | Path | None = None, submission: str | Path | None = None, class_names=None,
    device: str = "cpu", progress: bool = True, **data_options,
) -> Evaluation:  # fmt: skip
    """Scores a trained network on one split of a data set, as the command does in one process.

    Each rank of a script under mpiexec does all of it: let one, where `distributed.world().is_first`.

    Args:
        checkpoint: a file, a run of `minideeplab.fit`, or a network, as `weights.load_trained` takes them.
        data: folder of the data set, "synthetic", or an opened `SegmentationDataset`.
        dataset, split, limit, data_options: of `open_dataset`.
        scales, flip, fusion, crf, tile: of `Predictor`.
        output_stride, class_names: of `weights.load_trained`.
        trimap: widths in pixels of bands around boundaries, in which mean IoU is found, too.
        boundary_f1: find boundary F1, too.
        worst: number of images whose predictions are kept for the page of the worst images.
        pictures: folder for a picture of each image, and for those of `Evaluation.save_pictures`.
        submission: folder for predictions as the servers of the data sets take them, see `Submission`.
        device: "cpu" or "cuda"; progress: show how far it got, on stderr.

    Returns:
        `Evaluation`; print it for the table by class.

    Raises:
        DataError, CheckpointError, UsageError: a file, or arguments that do not fit together.
        ValueError: an argument that makes no sense.
    """
    if not isinstance(data, SegmentationDataset):
        data = open_dataset(data, dataset, split, limit, **data_options)
    trained = load_trained(checkpoint, class_names, output_stride)
    predictor = Predictor(trained.model.to(device), tuple(scales), flip, crf, tile, fusion)
    scored = _check(trained, data, submission, progress)
    if pictures is not None:
        Path(pictures).mkdir(parents=True, exist_ok=True)
    evaluation = Evaluation(trained.path, data, predictor, trimap, boundary_f1, worst)
    _run(evaluation, scored, pictures, submission, progress)
    return evaluation


@cli.main_guard(for_ranks=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command, of which several ranks share the images; returns the exit code."""
    args, group = _parser().parse_args(argv), world()
    threads = cli.use_device(args, group)
    with group.first_on_each_machine():
        json_file, csv_file, plot = (
            cli.output_file(option, path, suffix) if path else None
            for option, path, suffix in (
                ("--json", args.json, ".json"), ("--csv", args.csv, ".csv"), ("--plot", args.plot, ".png"),
            )
        )  # fmt: skip
    if args.plot and not args.trimap:
        raise UsageError("--plot draws the curve of --trimap; add widths, such as --trimap 1 2 5 10 20 40")
    trained = load_trained(args.checkpoint, args.class_names, args.output_stride)
    dataset = cli.open_data(args, args.split, group)
    predictor = cli.predictor_of(args, trained.model.to(args.device))
    scored = _check(trained, dataset, args.submission)
    with group.first_on_each_machine():
        pictures = cli.create_folder("--pictures", args.pictures) if args.pictures else None
        submission = cli.create_folder("--submission", args.submission) if args.submission else None
    if trained.note:
        print(f"note: {trained.note}", file=sys.stderr)
    print(
        f"{trained.model.config['name']} of {args.checkpoint} on {cli.counted(len(dataset), 'image')} of "
        f"{dataset.name}, split '{dataset.split}', at full size, {cli.threads_text(threads, group)}, {args.precision}"
    )
    cli.announce_compilation()
    evaluation = Evaluation(
        args.checkpoint, dataset, predictor, args.trimap or (), args.boundary_f1, args.worst if pictures else 0
    )
    written = _run(evaluation, scored, pictures, submission, group=group)
    if not group.is_first:
        return 0
    if written:
        print(f"{cli.counted(len(dataset), 'prediction')} in {written}")
    if not scored:
        print(f"split '{dataset.split}' has no labelled pixel, so there are no scores")
        return 0
    print(evaluation)
    if json_file:
        write_text(json_file, json.dumps(evaluation.to_json(), indent=2) + "\n")
    if csv_file:
        print("tables in " + " and ".join(map(str, evaluation.write_csv(csv_file))))
    if plot:
        evaluation.save_trimap_curve(plot)
    return 0


def _check(trained: Trained, dataset: SegmentationDataset, submission, progress: bool = True) -> bool:
    """Whether there are labels to score: a split that is only submitted may have none.

    Raises:
        CheckpointError: other classes than those of the network. DataError: files that cannot be used, no labels.
    """
    trained.take_classes(dataset)
    if submission and not any(_has_mask(dataset, number) for number in range(len(dataset))):
        return False
    for sentence in trained.differences(dataset):
        warnings.warn(sentence, stacklevel=3)
    cli.check_files(dataset, progress)
    if submission and not dataset.counts.labelled:
        return False
    require_labels(dataset)
    return True


def _has_mask(dataset, number) -> bool:
    try:
        return dataset.mask_path(number).is_file()
    except DataError:
        return False


def _run(
    evaluation: Evaluation, scored: bool, pictures, submission, progress: bool = True, group: Alone = ALONE
) -> Path | None:
    """Predicts each image, scores it, and writes what was asked for; returns the folder of the submission.

    Each rank writes the files of its images; the first has the scores of all afterwards, and draws what shows them.
    """
    dataset, predictor = evaluation.dataset, evaluation.predictor
    server = Submission(submission, dataset) if submission else None
    samples = Path(pictures) / "samples" if pictures else None
    if samples:
        samples.mkdir(exist_ok=True)
    predictions = predictor.over if scored else functools.partial(_unscored, predictor)
    share, faults = len(group.share(range(len(dataset)))), []
    shown = cli.Progress(share, cli.on_ranks("evaluate", group)) if progress else contextlib.nullcontext()
    with group.agreed(), shown as bar:
        for prediction in predictions(dataset, bar.update if progress else lambda: None, group):
            score = evaluation.add(prediction) if scored else None
            if server:
                server.write(prediction.number, kernels.to_device(prediction.labels, "cpu")[0])
            if samples:
                path = samples / figures.picture_name(dataset.ids[prediction.number])
                draw = functools.partial(_draw_sample, prediction=prediction, score=score, dataset=dataset)
                faults += _drawn(path, draw)
    evaluation.gather(group)
    for fault in itertools.chain(*group.gather(faults)[1:]):  # the first rank has told its own
        print(fault, file=sys.stderr)
    if pictures and scored and group.is_first:
        _drawn(pictures, evaluation.save_pictures)
    return server.folder if server else None


def _unscored(predictor: Predictor, dataset, report: Callable[[], None], group: Alone) -> Iterator[Prediction]:
    """As `Predictor.over`, of images that have no masks."""
    for number in group.share(range(len(dataset))):
        prediction = predictor(dataset.image(number))
        prediction.number = number
        yield prediction
        report()


def _drawn(path, draw: Callable[[Path], None]) -> list[str]:
    """Draws; a picture that fails is a warning, which is returned, too."""
    try:
        draw(path)
    except Exception as error:
        fault = f"warning: {path} could not be drawn ({type(error).__name__}: {error})"
        print(fault, file=sys.stderr)
        return [fault]
    return []


def _draw_sample(path: Path, prediction: Prediction, score: ImageScore | None, dataset) -> None:
    maps = {"prediction": prediction.plain_labels}
    if prediction.predictor.crf is not None:
        maps["with CRF"] = prediction.labels
    maps = {name: kernels.to_device(labels, "cpu")[0] for name, labels in maps.items()}
    title = str(score) if score else ""
    figures.save_comparison(path, prediction.image, maps, dataset, truth=prediction.truth, title=title)


def _qualified(confusion: ConfusionMatrix) -> str:
    """Mean IoU in percent, and over how many classes if not all are there."""
    present, known = confusion.classes_present(), confusion.num_classes
    return percent(confusion.mean_iou()) + (f" ({present} of {known} classes present)" if present < known else "")


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser("evaluate", "Score a network: IoU of each class, mean IoU, pixel accuracy.", EXAMPLE)
    cli.add_checkpoint_arguments(parser)
    cli.add_data_arguments(parser, default=None)
    parser.add_argument("--split", default="val", help="split to score")
    cli.add_predictor_arguments(parser)
    parser.add_argument(
        "--trimap", type=cli.positive_int, nargs="+", metavar="WIDTH",
        help="also score the pixels within WIDTH pixels of a boundary between labels, e.g. 1 2 5 10 20 40",
    )  # fmt: skip
    parser.add_argument(
        "--boundary-f1", action="store_true",
        help="also score the boundaries themselves: F1 of each class, within 0.75 %% of the image's diagonal",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", metavar="DIR",
        help="also draw: samples/ with image, truth, prediction and error of each image; confusion.png; worst.png; "
        "trimap.png",
    )  # fmt: skip
    parser.add_argument("--worst", type=cli.non_negative_int, default=WORST, help="number of images on worst.png")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the scores of --trimap over their widths")
    parser.add_argument("--json", metavar="FILE", help="also write all scores, those of each image included")
    parser.add_argument(
        "--csv", metavar="FILE", help="also write a row for each class, and to FILE_images.csv one for each image"
    )
    parser.add_argument(
        "--submission", metavar="DIR",
        help="also write the predictions as the server of the data set takes them (comp6 of VOC, labelIds of "
        "Cityscapes); a split without masks is not scored",
    )  # fmt: skip
    cli.add_device_arguments(parser)
    return parser


callable_module(__name__, evaluate)

if __name__ == "__main__":
    sys.exit(main())
