"""A trained network as one ONNX file that takes the bytes of an image, and the proof that it gives the same."""

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from minideeplab.autograd import Tensor, no_grad, precision
from minideeplab.data import IMAGE_MEAN, IMAGE_STD, normalise
from minideeplab.errors import MiniDeepLabError
from minideeplab.export import tape as tapes
from minideeplab.export.onnx_graph import Graph, onnx_package
from minideeplab.export.onnx_nodes import Nodes
from minideeplab.export.sizes import Size, structure
from minideeplab.models.segmenter import SMALLEST_SIDE, Segmenter
from minideeplab.weights import Trained

IMAGE, LOGITS, LABELS = "image", "logits", "labels"
TOLERANCE = 1e-3  # of the largest logit, between two programs in float32; usual is a hundredth of it


@dataclass
class OnnxFile:
    """A network in ONNX.

    Attributes:
        model: the ModelProto, with logits or labels as output.
        size: (height, width) of its images; None for any of at least 33 x 33.
        dense: whether it scores pixels; else whole images.
    """

    model: object
    size: tuple[int, int] | None
    dense: bool

    @property
    def output(self):
        return self.model.graph.output[0]

    def take_labels(self) -> None:
        """Gives the file the output `labels` instead of `logits`: at each pixel the first of the largest logits."""
        graph, logits = self.model.graph, self.output
        onnx, classes = onnx_package(), logits.type.tensor_type.shape.dim[1].dim_value
        kind = onnx.TensorProto.UINT8 if classes <= 256 else onnx.TensorProto.INT64
        graph.node.append(onnx.helper.make_node("ArgMax", [LOGITS], ["argmax"], name="argmax", axis=1, keepdims=0))
        graph.node.append(onnx.helper.make_node("Cast", ["argmax"], [LABELS], name=LABELS, to=kind))
        dims = [each.dim_param or each.dim_value for each in logits.type.tensor_type.shape.dim]
        del graph.output[:]
        graph.output.append(onnx.helper.make_tensor_value_info(LABELS, kind, [dims[0], *dims[2:]]))
        _check(onnx, self.model)


def onnx_file(trained: Trained, size: tuple[int, int] | None = None) -> OnnxFile:
    """The network in ONNX.

        image (1, H, W, 3) uint8 -> logits (1, K, H, W) float32, of a classifier of whole images (1, K)

    Normalisation, padding and resizing are inside. Batch norm that follows a convolution is part of its weights.

    Args:
        trained: the network with the names of its classes.
        size: (height, width) of the images that the file takes; None for any.

    Returns:
        `OnnxFile`, after ONNX's own checker.

    Raises:
        NotExportedError: the network has something that ONNX or the chosen form has not.
        MiniDeepLabError: the package onnx finds a fault in the file.
        ImportError: the package onnx is missing.

    Cost: memory of about eight times the bytes of the weights.
    """
    model, title = trained.model, _title(trained.model)
    tape = _tape(model, size, title)
    graph = Graph()
    onnx = graph.onnx
    output = Nodes(tape, graph, _normalised(graph), title).run()
    _, *sides, classes = tape.shapes[tape.result.number]
    dense = sides != [1, 1] or any(isinstance(side, Size) for side in sides)
    image = onnx.helper.make_tensor_value_info(IMAGE, onnx.TensorProto.UINT8, _dims(tape, 0))
    operation = "Identity" if dense else "Flatten"
    graph.nodes.append(onnx.helper.make_node(operation, [output], [LOGITS], name=LOGITS))
    shape = [1, classes, *_dims(tape, tape.result.number)[1:3]] if dense else [1, classes]
    logits = onnx.helper.make_tensor_value_info(LOGITS, onnx.TensorProto.FLOAT, shape)
    made = graph.model([image], [logits], title, _how_to_use(title, size))
    onnx.helper.set_model_props(made, _metadata(trained))
    _check(onnx, made)
    return OnnxFile(made, size, dense)


def difference_in_onnxruntime(made: OnnxFile, trained: Trained, sizes) -> float:
    """The largest difference of logits of onnxruntime and of the network itself, over the largest logit.

    Args:
        made: with logits; sizes: (height, width) of the images of noise that both see.

    Returns:
        NaN where either gives NaN.

    Raises:
        ImportError: onnxruntime is missing.
        MiniDeepLabError: onnxruntime cannot run the file, or gives another shape.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with _faults_of(onnxruntime, "the network"):
        session = onnxruntime.InferenceSession(
            made.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    generator, differences = np.random.default_rng(0), []
    for height, width in sizes:
        image = generator.integers(0, 256, (1, height, width, 3), np.uint8)
        with _faults_of(onnxruntime, f"{height} x {width}"):
            (found,) = session.run(None, {IMAGE: image})
        wanted = logits_of(trained.model, image)
        if found.shape != wanted.shape:
            raise MiniDeepLabError(
                f"{trained.path}: in onnxruntime {onnxruntime.__version__} logits of {height} x {width} have the shape "
                f"{found.shape}, not {wanted.shape}; nothing was written; report this fault"
            )
        largest = max(np.abs(wanted).max(), np.finfo(np.float32).tiny)  # logits may all be zero
        differences.append(np.abs(found - wanted).max() / largest)
    return float(np.max(differences))  # max() of Python may drop NaN


@contextmanager
def _faults_of(onnxruntime, what):
    """Turns errors of onnxruntime, which have no common base, into MiniDeepLabError."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        said = f"onnxruntime {onnxruntime.__version__}"
        if re.search("alloc|memory", str(error), re.IGNORECASE):
            text = f"{said} has not enough memory for {what} ({error}); nothing was written; close other programs"
        else:
            text = f"{said} cannot run {what} ({error}); nothing was written; try another version of onnxruntime"
        raise MiniDeepLabError(text) from error


def logits_of(model, image: np.ndarray) -> np.ndarray:
    """What the file gives for (1, H, W, 3) uint8, computed here: (1, K, H, W), or (1, K) of a classifier."""
    with precision("float32"), model.evaluating(), no_grad():
        logits = model(Tensor(normalise(image)).to(model.device)).numpy()
    found = np.ascontiguousarray(logits.transpose(0, 3, 1, 2))
    return found.reshape(1, -1) if found.shape[2:] == (1, 1) else found


# ---------------------------------------------------------------- the parts


def _check(onnx, model):
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise MiniDeepLabError(
            f"{model.graph.name}: the package onnx {onnx.__version__} finds a fault in the file ({error}); report this "
            "fault, with the network's name"
        ) from error


def _tape(model, size, title):
    """The network on images of that size; or of any, compared with what it does at other sizes."""
    state, twin = model.state_dict(), tapes.without_numbers(model)
    try:
        if size is not None:
            return tapes.record(twin, state, *size)
        first, *others = _sizes(model)
        tape = tapes.record(twin, state, *first, any_size=True)
        tapes.agree(tape, tape, title)
        for other in others:
            tapes.agree(tape, tapes.record(twin, state, *other), title)
    except ValueError as error:  # of the network, which does not take such an image
        where = f"{size[0]} x {size[1]}" if size else "all of the sizes that were tried"
        raise tapes.NotExportedError(f"{title} does not run at {where}: {error}; give another --size H W") from error
    return tape


def _sizes(model) -> list[tuple[int, int]]:
    """(height, width) of the images on which a network for any size is recorded: first one that needs padding.

    Where a network does not pad its images, all remainders of a side by the output stride occur: so each pooling meets
    an even and an odd side.
    """
    stride = getattr(model, "output_stride", 32)
    base = 2 * max(stride, SMALLEST_SIDE)
    found = [
        (base + 3, base + 10),
        (base + 9, base + 4),
        (base + stride + 2, base + 5),
        (base + 7, base + 2 * stride + 6),
    ]
    if not (isinstance(model, Segmenter) and model.align_corners and getattr(model, "dense", True)):
        half = -(-stride // 2)
        found += [(base + i, base + half + i) for i in range(half)]
    exact = base - base % stride + stride + getattr(model, "corner", 1)
    ends = [(SMALLEST_SIDE, SMALLEST_SIDE + 1), (1031, 2053)]  # a network may limit a side
    return [*found, (exact, exact + stride), (exact, base + 3), *ends]


def _dims(tape, number):
    """(N, H, W, C) of a value: numbers, and names of what depends on the image."""
    names, image = {1: "height", 2: "width"}, tape.shapes[0]
    return [
        (names[axis] if structure(side) == structure(image[axis]) else f"other_{names[axis]}")
        if isinstance(side, Size)
        else int(side)
        for axis, side in enumerate(tape.shapes[number])
    ]


def _normalised(graph):
    """(1, H, W, 3) uint8 -> (1, 3, H, W) float32, as `data.normalise`: x / (255 std) - mean / std."""
    x = graph.add("Transpose", IMAGE, perm=[0, 3, 1, 2], where="normalise")
    x = graph.add("Cast", x, to=graph.onnx.TensorProto.FLOAT, where="normalise")
    factor, shift = 1 / (255 * IMAGE_STD), IMAGE_MEAN / IMAGE_STD
    x = graph.add("Mul", x, graph.constant(factor.astype(np.float32)[:, None, None]), where="normalise")
    return graph.add("Sub", x, graph.constant(shift.astype(np.float32)[:, None, None]), where="normalise")


def _title(model) -> str:
    return (getattr(model, "config", None) or {}).get("name", type(model).__name__)


def _metadata(trained) -> dict[str, str]:
    """Text by name: what a program needs that shows the result."""
    model = trained.model
    return {
        "class_names": json.dumps(trained.class_names, ensure_ascii=False),
        "palette": json.dumps(np.asarray(trained.palette)[: len(trained.class_names)].tolist()),
        "ignore_index": str(trained.ignore_index),
        "mean": json.dumps(np.asarray(IMAGE_MEAN, float).tolist()),
        "std": json.dumps(np.asarray(IMAGE_STD, float).tolist()),
        "model": json.dumps(getattr(model, "config", None) or {}),
        "output_stride": str(getattr(model, "output_stride", "")),
        "smallest_side": str(SMALLEST_SIDE),
    }


def _how_to_use(title, size) -> str:
    which = f"{size[0]} x {size[1]}" if size else f"any height and width, {SMALLEST_SIDE} or more"
    return (
        f"{title} of minideeplab. Input image: (1, H, W, 3) uint8, RGB, as image libraries give it; {which}. "
        "Normalisation is inside. Output logits: (1, K, H, W) float32, or labels: (1, H, W) uint8. Names and colours "
        "of the classes are in the metadata: class_names, palette."
    )
