"""Which layout a file has; where it has none, the layouts that are nearest, for a message that says what to do."""

import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from minideeplab import models
from minideeplab.data import IMAGE_MEAN, IMAGE_STD
from minideeplab.files.refusal import Refusal, plain, shown
from minideeplab.weights.layouts import LAYOUTS, Layout
from minideeplab.weights.raw_arrays import Weights
from minideeplab.weights.whole_models import COUNTERS

# Arrays of a training module that is not the network alone: weights of the classes in a loss, counts of a metric.
_OF_TRAINING = re.compile(r"\w*(loss|criteri(on|a)|metric)\w*(\.|$)", re.IGNORECASE)
_MAX_PREFIX = 8  # components
_SHOWN, _LONGEST = 3, 60  # names in a line, and characters of one


def recognise(weights: Weights) -> tuple[Layout, Weights]:
    """The layout, and the arrays under the names that it has.

    A class of one's own, with the network as an attribute, puts a name before all others: `backbone.` before those of
    a classifier, `model.segmenter.` before those of a network for segmentation. As much is taken off as is needed. What
    such a class keeps for training, and the mean and deviation of images where they are ours, is left out.

    Raises:
        Refusal: no layout, or several; the message has the nearest five and what to do.
    """
    arrays = {name: array for name, array in weights.arrays.items() if not _is_beside(name, array)}
    arrays = arrays or weights.arrays
    for prefix in _shared_prefixes(arrays):
        inner = Weights(_without(prefix, arrays), _without(prefix, weights.unread))
        for layout in LAYOUTS:
            if layout.recognises([*inner.arrays, *inner.unread]):
                return layout, inner
    raise Refusal(_nothing_fits(weights.arrays))


def _is_beside(name: str, array: np.ndarray) -> bool:
    leaf = name.split(".")[-1]
    if leaf in COUNTERS or _OF_TRAINING.match(name):
        return True
    ours = {"mean": IMAGE_MEAN, "pixel_mean": IMAGE_MEAN, "std": IMAGE_STD, "pixel_std": IMAGE_STD}.get(leaf)
    return ours is not None and array.size == 3 and np.allclose(array.ravel(), ours, atol=1e-3)


def _shared_prefixes(names) -> Iterator[str]:
    """Nothing, and then what all names begin with, one component more each time."""
    shared = ""
    for _ in range(_MAX_PREFIX):
        yield shared
        first = next(iter(names), "")
        component, dot, _ = first[len(shared) :].partition(".")
        shared += component + dot
        if not dot or not all(name.startswith(shared) for name in names):
            return


def _without(prefix: str, named: dict) -> dict:
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}


# ---------------------------------------------------------------- the nearest layouts

_BEST = 5
_MOST_NAMES = 3000  # of a file that are compared: no known network has more
_PREFIXES = 12
_RENAMINGS = 4
_LINE = 74
_TRIED = 12

# What shows by its names which program else a file is of.
_OTHERS = (
    (r"(segformer|decode_head\.linear_c|mask2former|model\.pixel_level_module)\.", "Hugging Face's transformers"),
    (r"decode_head\.", "mmsegmentation"),
    (r"(segmentation_head|encoder\._blocks)\.", "segmentation_models.pytorch"),
    (r"(sem_seg_head|backbone\.(res\d|bottom_up))\.", "detectron2"),
    (r"(backbone\.body|roi_heads|rpn)\.", "torchvision's detection"),
    (r"(encoder\.)?layer5\.conv2d_list\.", "speedinghzl/Pytorch-Deeplab"),
    (r"image_encoder\.", "Segment Anything"),
    (r"(xception_65|MobilenetV2|resnet_v1_\d+|aspp0|concat_projection)/", "TensorFlow's DeepLab"),
)


@dataclass
class Match:
    """How much of a file a layout has.

    Attributes:
        layout: which; expected: the names that it has.
        prefix: what is taken off the file's names before they are compared; names: what is left, in the layout's
            spelling, and the names in the file.
        matched: how many are expected.
        missing, unknown: what else the layout has, and what else the file has.
    """

    layout: Layout
    prefix: str
    names: dict[str, str]
    expected: tuple[str, ...]

    @cached_property
    def inner(self) -> list[str]:
        """The names that begin with the prefix, without it."""
        return [name for name, stored in self.names.items() if stored.startswith(self.prefix)]

    @cached_property
    def matched(self) -> int:
        return sum(name in self.names for name in self.expected)

    @cached_property
    def missing(self) -> list[str]:
        return [name for name in self.expected if name not in self.names]

    @cached_property
    def unknown(self) -> list[str]:
        expected = set(self.expected)
        return [stored for name, stored in self.names.items() if name not in expected]

    def nearness(self) -> tuple:
        return self.matched, -abs(len(self.expected) - len(self.inner)), -len(self.prefix)

    def __str__(self):
        off = f", after {shown(self.prefix)} is taken off" if self.prefix else ""
        lines = [f"  {self.layout.title}:", f"    {self.matched} of {len(self.expected)} names match{off}"]
        lines += [f"    only in the file: {_some(self.unknown)}"] if self.unknown else []
        lines += [f"    only in the layout: {_some(self.missing)}"] if self.missing else []
        return "\n".join(lines)

    @cached_property
    def renamings(self) -> list[tuple[str, str]]:
        """Replacements in names, one after the other, each of which brings most others into the layout."""
        expected, found = set(self.expected), []
        names = [name for name in self.inner if len(name) <= _LONGEST]
        while len(found) < _RENAMINGS:
            others = [name for name in names if name not in expected]
            there = set(names)
            missing = [name for name in self.expected if name not in there]
            pairs = sorted({_ends(old, new) for old in _sample(others) for new in _sample(missing)} - {("", "")})
            gains = {pair: _gain(pair, names, expected) for pair in pairs}
            best = max(gains, key=gains.get, default=None)
            if best is None or gains[best] <= 0:
                break
            found.append(best)
            names = [name.replace(*best) for name in names]
        return found

    @cached_property
    def differing(self) -> int:
        """How many names are on one side alone after `renamings`."""
        names = set(self.names)
        for pair in self.renamings:
            names = {name.replace(*pair) for name in names}
        return len(names.symmetric_difference(self.expected))


def nearest(names: list[str]) -> list[Match]:
    """The layouts that have a name of the file, at most five, those with most names in common first.

    Of several with as many that comes first which differs least once the file's names are replaced as `renamings` says.
    """
    prefixes = _candidates(names)
    found = [max((_match(layout, names, prefix) for prefix in prefixes), key=Match.nearness) for layout in LAYOUTS]
    best = sorted((match for match in found if match.matched), key=Match.nearness, reverse=True)[:_BEST]
    return sorted(best, key=lambda match: (-match.matched, match.differing))


def _candidates(names: list[str]) -> list[str]:
    """Nothing, and what most names begin with."""
    counts = Counter()
    for name in names:
        counts.update(f"{path}." for path in itertools.accumulate(name.split(".", 5)[:-1][:4], "{}.{}".format))
    return ["", *(prefix for prefix, _ in counts.most_common(_PREFIXES))]


def _match(layout: Layout, names: list[str], prefix: str) -> Match:
    """With that of the layout's networks that has most names in common, of several the one with fewest others.

    What does not begin with the prefix has its full name.
    """
    spelled = {layout.spelled(name.removeprefix(prefix)): name for name in names if name.startswith(prefix)}
    spelled = {name: name for name in names if not name.startswith(prefix)} | spelled
    matches = (Match(layout, prefix, spelled, expected) for expected in _expected(layout))
    return max(matches, key=Match.nearness, default=Match(layout, prefix, spelled, ()))


@functools.cache
def _expected(layout: Layout) -> tuple[tuple[str, ...], ...]:
    """The names in the files of each network that this layout is known for; small, as names do not depend on sizes."""
    found = []
    for options in layout.typical or [{"name": name} for name in models.NAMES if layout.writes_model(name)]:
        has_auxiliary = "auxiliary" in models.options_of(options["name"])
        for more in [{"auxiliary": True}, {"auxiliary": False}] if has_auxiliary else [{}]:
            model = models.unfilled(**options | more, width=1 / 64)
            own = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
            found.append(tuple(layout.stored_name(name) for name in own))
    return tuple(found)


# ---------------------------------------------------------------- the message


_RENAME = "write its arrays under the layout's names, and load what this has written:"


def looks_like(names) -> str:
    """A line that says which other program the names are of, where that is known; else nothing."""
    programs = (program for mark, program in _OTHERS if any(re.search(rf"(^|\.){mark}", name) for name in names))
    program = next(programs, "")
    return f"\nthe names look like those of {program}, which are not known here" if program else ""


def _nothing_fits(arrays: dict) -> str:
    names = [name for name in itertools.islice(arrays, _MOST_NAMES) if name.split(".")[-1] not in COUNTERS]
    matches = nearest(names)
    head = f"no known layout has its {len(arrays)} arrays\n  {_some(names)}{looks_like(names)}"
    if not matches:
        known = "".join(f"\n  {layout.title}" for layout in LAYOUTS)
        return (
            f"{head}\nno name is one of a known layout; known are checkpoints of this project, and{known}\n"
            f"if it is one of these networks, {_RENAME}{_recipe([('old', 'new')], '')}"
        )
    listed = "\n".join(map(str, matches))
    best = min(matches, key=lambda match: match.differing)
    if best.missing:
        return (
            f"{head}\nthe nearest layouts:\n{listed}\nif it is such a network, {_RENAME}"
            f"{_recipe(best.renamings or [('old', 'new')], best.prefix)}"
        )
    only = f"to use the arrays under {shown(best.prefix)}, write them alone, and load what this has written:"
    return f"{head}\nthe nearest layouts:\n{listed}\n{only}{_recipe([], best.prefix, alone=True)}"


def _recipe(renamings: list[tuple[str, str]], prefix: str, alone: bool = False) -> str:
    """What to run, in lines of 100 columns; `alone`: arrays without the prefix are left out."""
    steps = [f"name = name.removeprefix({prefix!r})"] if prefix else []
    steps += [f"name = name.replace({old!r}, {new!r})" for old, new in renamings]
    steps.append("renamed[name] = array")
    if alone:
        steps = [f"if name.startswith({prefix!r}):", *(f"    {step}" for step in steps)]
    lines = (
        "import numpy",
        "from minideeplab.weights.containers import read_arrays",
        "renamed = {}",
        'for name, array in read_arrays("FILE").items():',
        *(f"    {step}" for step in steps),
        'numpy.savez("renamed.npz", **renamed)',
    )
    return "".join(f"\n  {line}" for line in lines)


def _gain(pair: tuple[str, str], names: list[str], expected: set[str]) -> int:
    """How many names more are expected ones after a replacement."""
    changed = [name for name in names if pair[0] in name]
    return sum(name.replace(*pair) in expected for name in changed) - sum(name in expected for name in changed)


def _sample(names: list[str]) -> list[str]:
    return names[:: max(1, len(names) // _TRIED)]


def _ends(old: str, new: str) -> tuple[str, str]:
    """What stands before the components that both end with; ("", "") where they end differently."""
    here, there = old.split("."), new.split(".")
    count = 0
    while count < min(len(here), len(there)) - 1 and here[-1 - count] == there[-1 - count]:
        count += 1
    if not count:
        return "", ""
    return ".".join(here[:-count]) + ".", ".".join(there[:-count]) + "."


def _some(names: list[str]) -> str:
    """As many of the first as have room on a line of 100 columns, and the number of the others."""
    text = ""
    for count, name in enumerate(names[:_SHOWN], 1):
        short = plain(repr(name if len(name) <= _LONGEST else name[: _LONGEST - 3] + "..."))
        rest = f" and {len(names) - count} more" if count < len(names) else ""
        if count > 1 and len(text + short + rest) > _LINE:
            return f"{text} and {len(names) - count + 1} more"
        text += f", {short}" if text else short
    return f"{text} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else text or "nothing"
