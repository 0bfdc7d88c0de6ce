"""The command: reads a checkpoint, writes a file for other programs, and says how it is used."""

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from minideeplab import cli, models
from minideeplab.data import read_image
from minideeplab.errors import MiniDeepLabError, UsageError
from minideeplab.export.formats import ONNX, SUFFIXES, format_of, write_weights
from minideeplab.export.onnx_file import IMAGE, LABELS, TOLERANCE, OnnxFile, difference_in_onnxruntime, onnx_file
from minideeplab.export.page import Runtime, check_network, read_runtime, write_page
from minideeplab.files.whole import written_whole
from minideeplab.models.segmenter import SMALLEST_SIDE
from minideeplab.weights import Trained, load_trained

EXAMPLE = """\
  python -m minideeplab.export --checkpoint runs/photos/best.npz --out net.onnx --argmax
  python -m minideeplab.export --checkpoint runs/photos/best.npz --html demo.html --sample photo.jpg
  python -m minideeplab.export --checkpoint deeplabv3.npz --out deeplabv3.pth"""

CHECKED = ((97, 129), (66, 75), (SMALLEST_SIDE, 48))  # height, width of the images that both programs see


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    args = _parser().parse_args(argv)
    (kind, runtime), size = _check(args), _size(args.size)
    trained = load_trained(args.checkpoint, args.class_names, args.output_stride, classifiers=True)
    if trained.note:
        print(f"note: {trained.note}", file=sys.stderr)
    if kind != ONNX:
        count = write_weights(args.out, trained.model, kind)
        print(f"{args.out}: {_megabytes(args.out)}, {count} arrays, as torchvision names and stores them")
        print(_how_to_load(args.out, kind, trained.model.config))
        return 0
    try:
        made = onnx_file(trained, size)
    except ImportError as error:
        raise UsageError(str(error)) from error
    if args.html:
        if not made.dense:
            raise UsageError(
                f"--html {args.html}: a page shows labels of pixels, {args.checkpoint} classifies whole images"
            )
        check_network(made.model.ByteSize(), len(trained.class_names))  # before a file is written
    for line in _checked(made, trained):
        print(line)
    if args.out:
        if args.argmax:
            made.take_labels()
        _write(args.out, made)
    if args.html:
        _write_page(args, made, trained, runtime)
    return 0


def _check(args: argparse.Namespace) -> tuple[str, Runtime | None]:
    """The format, and what runs a page; folders for the files exist from now on."""
    runtime = None
    if not (args.out or args.html):
        raise UsageError("nothing to write: give --out FILE, or --html FILE for a page that runs the network")
    if args.format and not args.out:
        raise UsageError(f"--format {args.format} needs --out FILE")
    if args.html:
        cli.output_file("--html", args.html, ".html")
        runtime = read_runtime(args.runtime)  # what is missing is said before the network is read
    kind = format_of(args.out, args.format) if args.out else ONNX
    if kind != ONNX:
        given = [f"--{name}" for name in ("size", "dynamic", "argmax", "html") if getattr(args, name)]
        if given:
            work = "works" if len(given) == 1 else "work"
            raise UsageError(f"{' and '.join(given)} {work} only for .onnx files; --out {args.out} holds weights alone")
    if args.out:
        cli.output_file("--out", args.out, Path(args.out).suffix.lower())
        if os.path.exists(args.out) and os.path.exists(args.checkpoint) and os.path.samefile(args.out, args.checkpoint):
            raise UsageError(f"--out {args.out}: that is the checkpoint itself; give another name")
    for option in ("runtime", "sample"):
        if (value := getattr(args, option)) and not args.html:
            raise UsageError(f"--{option} {value} is used only with --html FILE")
    if args.sample:
        read_image(Path(args.sample))
    return kind, runtime


def _size(given: list[int] | None) -> tuple[int, int] | None:
    if given is None:
        return None
    if len(given) > 2 or min(given) < SMALLEST_SIDE:
        shown = " ".join(map(str, given))
        raise UsageError(f"--size {shown}: expected one side, or height and width, {SMALLEST_SIDE} pixels or more each")
    return given[0], given[-1]


def _checked(made: OnnxFile, trained: Trained) -> list[str]:
    """Runs the file in onnxruntime, where that is installed, beside the network itself.

    Raises:
        MiniDeepLabError: they differ.
    """
    try:
        import onnxruntime
    except ImportError as error:
        return [f"onnxruntime cannot be imported ({error}): the file was checked by the package onnx, and not run"]
    cli.announce_compilation()
    sizes = [made.size] if made.size else CHECKED
    shown = " and ".join(f"{height} x {width}" for height, width in sizes)
    worst = difference_in_onnxruntime(made, trained, sizes)
    if not worst <= TOLERANCE:
        raise MiniDeepLabError(
            f"{trained.path}: in onnxruntime {onnxruntime.__version__} logits differ by {worst:.1e} of the largest at "
            f"{shown}, more than {TOLERANCE:g}; nothing was written; report this fault, with the network's name "
            f"({made.model.graph.name})"
        )
    return [f"in onnxruntime {onnxruntime.__version__} logits differ by {worst:.1e} of the largest at {shown}"]


def _write(path: str, made: OnnxFile) -> None:
    data = made.model.SerializeToString()
    with written_whole(path, len(data)) as file:
        file.write(data)
    graph = made.model.graph
    print(
        f"{path}: {_megabytes(path)}, {len(graph.node)} nodes, opset {made.model.opset_import[0].version}; "
        f"{_described(graph.input[0])} -> {_described(graph.output[0])}"
    )
    fit = f".resize(({made.size[1]}, {made.size[0]}))" if made.size else ""
    print(
        "import numpy as np, onnxruntime; from PIL import Image\n"
        f"session = onnxruntime.InferenceSession({str(path)!r})\n"
        f'({graph.output[0].name},) = session.run(None, {{"{IMAGE}": '
        f'np.asarray(Image.open("photo.jpg").convert("RGB"){fit})[None]}})'
    )


_TYPES = {1: "float32", 2: "uint8", 7: "int64"}  # of TensorProto


def _described(value) -> str:
    """Name, shape and type of an input or output."""
    kind = value.type.tensor_type
    dims = ", ".join(str(each.dim_param or each.dim_value) for each in kind.shape.dim)
    return f"{value.name} ({dims}) {_TYPES[kind.elem_type]}"


def _write_page(args: argparse.Namespace, made: OnnxFile, trained: Trained, runtime: Runtime) -> None:
    if made.output.name != LABELS:
        made.take_labels()
    path = Path(args.checkpoint).absolute()
    name = path.parent.name if path.stem in ("best", "last") else path.stem  # of the run
    sample = Path(args.sample).read_bytes() if args.sample else None
    data, classes = made.model.SerializeToString(), (trained.class_names, trained.palette)
    write_page(args.html, data, *classes, name, runtime, made.size, SMALLEST_SIDE, sample)
    print(f"{args.html}: {_megabytes(args.html)}, a page that runs the network; open it in a browser")


def _how_to_load(path: str, kind: str, config: dict) -> str:
    """Lines that make torchvision's network and fill it, where torchvision's own functions make it."""
    read = {
        "torchvision": f"torch.load({str(path)!r}, weights_only=True)",
        "safetensors": f"safetensors.torch.load_file({str(path)!r})",
        "npz": f"{{name: torch.from_numpy(array) for name, array in numpy.load({str(path)!r}).items()}}",
    }[kind]
    lines = [f"in PyTorch: model.load_state_dict({read}); here: --checkpoint {shlex.quote(str(path))}"]
    usual = models.options_of(config["name"])
    other = [name for name in ("width", "head_width") if name in usual and config[name] != usual[name]]
    if other:
        said = " and ".join(f"{name} {config[name]:g}" for name in other)
        return f"{lines[0]}\ntorchvision's own functions make no model of {said}: build it from torchvision's classes"
    name, head = config["name"].removeprefix("torchvision-"), config["name"].startswith("torchvision-")
    options = f"num_classes={config['num_classes']}"
    if head:
        options = f"weights=None, weights_backbone=None, {options}"
        options += f", aux_loss={config['auxiliary']}" if "auxiliary" in config else ""
    return "\n".join([f"model = torchvision.models.{'segmentation.' if head else ''}{name}({options})", *lines])


def _megabytes(path) -> str:
    return f"{os.path.getsize(path) / 1e6:.1f} MB"


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser(
        "export",
        "Write a trained network for other programs: ONNX, a page for browsers, weights of torchvision.",
        EXAMPLE,
    )
    add = parser.add_argument
    cli.add_checkpoint_arguments(parser)
    add("--out", metavar="FILE", help=f"the file; its suffix says the format: {', '.join(SUFFIXES.values())}")
    add("--format", choices=SUFFIXES, help="torchvision, safetensors and npz hold weights under torchvision's names")
    sizes = parser.add_mutually_exclusive_group()
    one = "ONNX for images of this height and width, pixels"
    sizes.add_argument("--size", type=cli.positive_int, nargs="+", metavar=("H", "W"), help=one)
    sizes.add_argument("--dynamic", action="store_true", default=None, help="ONNX for images of any size (the default)")
    add("--argmax", action="store_true", help="the file gives labels (1, H, W) uint8 instead of logits (1, K, H, W)")
    add("--html", metavar="FILE", help="also, or only, write one page that runs the network in a browser")
    add(
        "--runtime",
        metavar="FOLDER",
        help="folder of the npm package onnxruntime-web, needed by --html",
    )
    add("--sample", metavar="IMAGE", help="an image that the page of --html offers to try (a drawn street)")
    return parser
