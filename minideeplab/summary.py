"""Says what a network costs: `python -m minideeplab.summary --help`."""

import argparse
import json
import sys
from collections.abc import Sequence

import numpy as np

from minideeplab import cli, figures, models
from minideeplab.autograd import Tensor, precision
from minideeplab.cli.model_options import add_model_arguments, given_options
from minideeplab.cost import Cost, cost_of
from minideeplab.errors import UsageError

EXAMPLE = """\
  python -m minideeplab.summary --model deeplabv3plus --backbone xception65
  python -m minideeplab.summary --model pspnet --backbone resnet101 --size 473 --json"""

# Multiply-adds in units of 1e9 that the DeepLab v3+ paper prints for Xception-65 at 513 x 513 with 21 classes
# (arXiv 1802.02611, table 5): (output stride, decoder, separable)
PAPER = {
    (16, False, False): 68.00,
    (8, False, False): 240.85,
    (16, True, False): 89.76,
    (8, True, False): 262.59,
    (16, True, True): 54.17,
    (8, True, True): 177.10,
}


PRECISION_WORDS = {"float32": "float32", "bf16": "bfloat16, the logits in float32"}


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    args = _parser().parse_args(argv)
    report = cli.output_file("--plot", args.plot, ".png") if args.plot else None
    options = {"num_classes": args.classes or models.options_of(args.model)["num_classes"]} | given_options(args)
    size = _size(args.size or [513])
    if args.time:
        cli.use_precision(args.precision)
    else:
        precision(args.precision)
    try:
        cost = cost_of(models.create(args.model, **options), size)
        if args.time:
            _time(models.build(args.model, **options), size, cost)
    except (ValueError, MemoryError) as error:
        raise UsageError(f"--model {args.model}: {error}") from error
    if report:
        backbone = f", {options['backbone']}" if "backbone" in options else ""
        figures.save_costs(report, cost, f"{args.model}{backbone}, {size[0]} x {size[1]}")
    if args.json:
        side = list(size) if size[0] != size[1] else size[0]
        said = {"model": args.model, "options": options, "size": side, "precision": args.precision}
        print(json.dumps(said | cost.as_dict(), indent=2))
    else:
        print(_table(cost))
        print(_totals(args.model, size, options, cost, args.precision))
    return 0


def _size(given: list[int]) -> tuple[int, int]:
    """(height, width)."""
    if len(given) > 2:
        raise UsageError(f"--size {' '.join(map(str, given))}: expected one side, or height and width")
    return given[0], given[-1]


def _time(model, size: tuple[int, int], cost: Cost) -> None:
    """Writes each layer's seconds into `cost`: those of the second of two runs on this CPU."""
    image = Tensor(np.zeros((1, *size, 3), np.float32))
    model.trace(image, channels=0)
    for layer, traced in zip(cost.layers, model.trace(image, channels=0), strict=True):
        layer.seconds = traced.seconds


def _table(cost: Cost) -> str:
    """A line for each layer."""
    timed = any(layer.seconds is not None for layer in cost.layers)
    names = [layer.name or "(the network)" for layer in cost.layers]
    width = max(map(len, ["layer", *names]))
    head = f"{'layer':{width}s}  {'kind':25s} {'output':>14s} {'parameters':>11s} {'mult-adds':>10s} {'field':>6s}"
    lines = [head + f" {'MB':>7s}" + (f" {'ms':>8s}" if timed else "")]
    for name, layer in zip(names, cost.layers, strict=True):
        field = "all" if layer.receptive_field is None else str(layer.receptive_field)
        line = (
            f"{name:{width}s}  {layer.kind:25s} {'x'.join(map(str, layer.output)):>14s} {layer.parameters:11,d}"
            f" {layer.macs / 1e6:8.1f} M {field:>6s} {layer.activation_bytes / 1e6:7.1f}"
        )
        lines.append(line + (f" {layer.seconds * 1e3:8.2f}" if timed else ""))
    return "\n".join(lines)


def _totals(model: str, size: tuple[int, int], options: dict, cost: Cost, precision_name: str) -> str:
    """Totals, and where the paper prints one, its number beside ours."""
    dtypes = PRECISION_WORDS[precision_name]
    billions, padded = cost.macs / 1e9, cost.macs_space_to_batch / 1e9
    lines = [
        f"{model}{_given(options)} at {size[0]} x {size[1]}{_padding(size, cost)}, {options['num_classes']} classes",
        f"  parameters             {cost.parameters:,}",
        f"  multiply-adds          {billions:.3f} x 1e9 (atrous layers as space-to-batch: {padded:.3f})",
        f"  receptive field        {cost.receptive_field} pixels (paths through pooling to a number of bins left out)",
        f"  activations            {cost.activation_bytes / 1e6:.1f} MB (outputs of the layers above in {dtypes})",
    ]
    if any(layer.seconds is not None for layer in cost.layers):
        lines.append(f"  time of these layers   {sum(layer.seconds for layer in cost.layers) * 1e3:.1f} ms")
    if (printed := _printed_by_the_paper(model, size, options)) is not None:
        gap, plain_gap = padded / printed - 1, billions / printed - 1
        lines.append(
            f"  the paper prints       {printed:.2f} x 1e9 (arXiv 1802.02611, table 5): space-to-batch {gap:+.1%},"
            f" plain {plain_gap:+.1%}"
        )
    return "\n".join(lines)


def _given(options: dict) -> str:
    """The options of the network beside its number of classes, in words."""
    texts = {name: " ".join(map(str, v)) if isinstance(v, (list, tuple)) else v for name, v in options.items()}
    words = {True: "yes", False: "no", "": "none"}
    return "".join(
        f", {name.replace('_', ' ')} {words.get(v, v)}" for name, v in texts.items() if name != "num_classes"
    )


def _padding(size: tuple[int, int], cost: Cost) -> str:
    """That the network pads its images to sizes that its strides divide, where it does."""
    inside = cost.layers[0].input[:2]
    return "" if inside == tuple(size) else f" (inside {inside[0]} x {inside[1]}, padded)"


def _printed_by_the_paper(model: str, size: tuple[int, int], options: dict) -> float | None:
    asked = {"separable": True, "decoder": True, "output_stride": 16, "backbone": "resnet18"} | options
    if (model, size) != ("deeplabv3plus", (513, 513)):
        return None
    if asked["backbone"] != "xception65" or asked["num_classes"] != 21 or asked.get("width", 1.0) != 1.0:
        return None
    return PAPER.get((asked["output_stride"], asked["decoder"], asked["separable"]))


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser(
        "summary", "What a network costs: parameters, multiply-adds, receptive field, memory, layer by layer.", EXAMPLE
    )
    add = parser.add_argument
    add_model_arguments(parser)
    size = "side of the image, or its height and width, pixels (513)"
    add("--size", type=cli.positive_int, nargs="+", metavar=("H", "W"), help=size)
    add("--classes", type=cli.positive_int, help="channels of the logits (21, of a classifier 1000, if not given)")
    words = "of feature maps: bf16 takes half the memory (minideeplab.precision)"
    add("--precision", choices=PRECISION_WORDS, default="float32", help=words)
    add("--time", action="store_true", help="run it, and say how long each layer takes on this CPU")
    add("--json", action="store_true", help="print JSON instead of the table")
    add("--plot", metavar="FILE", help="also draw where parameters and multiply-adds are, as a .png")
    return parser


if __name__ == "__main__":
    sys.exit(main())
