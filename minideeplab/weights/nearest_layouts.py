"""The layouts that are nearest to the names of a file, for a message that says what to do."""

import functools
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from minideeplab import models
from minideeplab.files.refusal import plain, shown
from minideeplab.weights.layouts import LAYOUTS, Layout
from minideeplab.weights.raw_arrays import is_counter

_BEST = 5
_MOST_NAMES, _LONGEST_NAME = 3000, 200  # of a file that are compared: no known network has more, or longer ones
_PREFIXES = 12
_RENAMINGS = 4
_SHOWN, _LONGEST, _LINE = 3, 60, 74  # names in a line, characters of one, and of all
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
        prefix: what the file's names begin with; put: what is put in its place before they are compared.
        names: in the layout's spelling, with the names in the file.
        matched: how many are expected.
        missing, unknown: what else the layout has, and what else the file has.
    """

    layout: Layout
    prefix: str
    put: str
    names: dict[str, str]
    expected: tuple[str, ...]

    @cached_property
    def compared(self) -> list[str]:
        """The names, and where a prefix is taken off those that had it."""
        return [name for name, stored in self.names.items() if self.put or stored.startswith(self.prefix)]

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
        return self.matched, -abs(len(self.expected) - len(self.compared)), -len(self.put), -len(self.prefix)

    def __str__(self):
        read = (
            f", with {shown(self.prefix)} read as {shown(self.put)}" if self.put else f", without {shown(self.prefix)}"
        )
        off = read if self.prefix else ""
        lines = [f"  {self.layout.title}:", f"    {self.matched} of {len(self.expected)} names match{off}"]
        lines += [f"    only in the file: {_some(self.unknown)}"] if self.unknown else []
        lines += [f"    only in the layout: {_some(self.missing)}"] if self.missing else []
        return "\n".join(lines)

    @cached_property
    def renamings(self) -> list[tuple[str, str]]:
        """Replacements in names, one after the other, each of which brings most others into the layout."""
        expected, found = set(self.expected), []
        names = self.compared
        while len(found) < _RENAMINGS:
            others = [name for name in names if name not in expected]
            there = set(names)
            missing = [name for name in self.expected if name not in there]
            pairs = sorted({pair for old in _sample(others) for new in _sample(missing) for pair in _changes(old, new)})
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
    found = [
        max(
            (_match(layout, names, *each) for each in itertools.product(prefixes, _beginnings(layout))),
            key=Match.nearness,
        )
        for layout in LAYOUTS
    ]
    best = sorted((match for match in found if match.matched), key=Match.nearness, reverse=True)[:_BEST]
    return sorted(best, key=lambda match: (-match.matched, match.differing))


def _candidates(names: list[str]) -> list[str]:
    """Nothing, and what most names begin with."""
    counts = Counter()
    for name in names:
        counts.update(f"{path}." for path in itertools.accumulate(name.split(".", 5)[:-1][:4], "{}.{}".format))
    return ["", *(prefix for prefix, _ in counts.most_common(_PREFIXES))]


def _beginnings(layout: Layout) -> list[str]:
    """Nothing, and what half of the layout's names begin with."""
    firsts = Counter(name.partition(".")[0] for names in _expected(layout) for name in names)
    return ["", *(f"{first}." for first, count in firsts.most_common(1) if 2 * count > firsts.total())]


def _match(layout: Layout, names: list[str], prefix: str, put: str) -> Match:
    """With that of the layout's networks that has most names in common, of several that of the nearest number of names.

    What does not begin with the prefix has its full name.
    """
    spelled = {layout.spelled(put + name.removeprefix(prefix)): name for name in names if name.startswith(prefix)}
    spelled = {name: name for name in names if not name.startswith(prefix)} | spelled
    matches = (Match(layout, prefix, put, spelled, expected) for expected in _expected(layout))
    return max(matches, key=Match.nearness, default=Match(layout, prefix, put, spelled, ()))


@functools.cache
def _expected(layout: Layout) -> tuple[tuple[str, ...], ...]:
    """The names in the files of each network that this layout is known for.

    They are small: names depend on sizes only where a block has nothing to expand, below a width of 1/4.
    """
    found = []
    for options in layout.typical or [{"name": name} for name in models.NAMES if layout.writes_model(name)]:
        known = models.options_of(options["name"])
        small = {"width": 1 / 4} if "width" in known else {}
        for more in [{"auxiliary": True}, {"auxiliary": False}] if "auxiliary" in known else [{}]:
            model = models.unfilled(**options | small | more)
            own = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
            found.append(tuple(layout.stored_name(name) for name in own))
    return tuple(found)


# ---------------------------------------------------------------- the message


_RENAME = "write its arrays under the layout's names, and give renamed.npz instead:"


def looks_like(names) -> str:
    """A line that says which other program the names are of, where that is known; else nothing."""
    names = [name for name in itertools.islice(names, _MOST_NAMES) if len(name) <= _LONGEST_NAME]
    programs = (program for mark, program in _OTHERS if any(re.search(rf"(^|\.){mark}", name) for name in names))
    program = next(programs, "")
    return f"\nthe names look like those of {program}, which are not known here" if program else ""


def nothing_fits(arrays: dict, path="FILE") -> str:
    """What is said of arrays without a known layout: what they are, the nearest layouts, and code that renames them.

    Where renaming leaves more than half of a layout's names open there is no code: it is another network.
    """
    names = [name for name in arrays if not is_counter(name)]
    matches = nearest([name for name in names[:_MOST_NAMES] if len(name) <= _LONGEST_NAME])
    head = f"no known layout has its {len(names)} arrays\n  {_some(names)}{looks_like(names)}"
    if not matches:
        known = "".join(f"\n  {layout.title}" for layout in LAYOUTS)
        return (
            f"{head}\nno name is one of a known layout; known are checkpoints of this project, and{known}\n"
            f"if it is one of them, {_RENAME}{_recipe(path, [('old', 'new')])}"
        )
    listed = "\n".join(map(str, matches))
    best = min(matches, key=lambda match: match.differing)
    if 2 * best.differing > len(best.expected) and best.missing:
        what = "it is none of these networks: run it in the program that wrote it, or write it as a model here"
        return f"{head}\nthe nearest layouts:\n{listed}\n{what}\n(minideeplab/models/README.md, How to add a network)"
    if best.missing or best.put:
        renamings = best.renamings or ([("old", "new")] if best.missing else [])
        return (
            f"{head}\nthe nearest layouts:\n{listed}\nif it is such a network, {_RENAME}"
            f"{_recipe(path, renamings, best.prefix, best.put)}"
        )
    only = f"to use the arrays under {shown(best.prefix)}, write them alone, and give renamed.npz instead:"
    return f"{head}\nthe nearest layouts:\n{listed}\n{only}{_recipe(path, [], best.prefix, alone=True)}"


def _recipe(path, renamings: list[tuple[str, str]], prefix: str = "", put: str = "", alone: bool = False) -> str:
    """What to run, in lines of 100 columns; `alone`: arrays without the prefix are left out."""
    steps = [f"name = name.removeprefix({prefix!r})"] if prefix else []
    if put:
        steps = [f"if name.startswith({prefix!r}):", f"    name = {put!r} + name.removeprefix({prefix!r})"]
    steps += [f"name = name.replace({old!r}, {new!r})" for old, new in renamings]
    steps.append("renamed[name] = array")
    if alone:
        steps = [f"if name.startswith({prefix!r}):", *(f"    {step}" for step in steps)]
    lines = (
        "import numpy",
        "from minideeplab.weights.containers import read_arrays",
        "renamed = {}",
        f"for name, array in read_arrays({str(path)!r}).items():",
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


def _changes(old: str, new: str) -> list[tuple[str, str]]:
    """What makes the one name of the other: what stands before the components that both end with, and less of it.

    Less is what follows the components that both begin with: of a.b.old.w and a.b.new.w a.b.old. and old.
    """
    here, there = old.split("."), new.split(".")
    end = _shared(here[::-1], there[::-1])
    start = _shared(here[:-end], there[:-end])
    parts = [(here[begin:-end], there[begin:-end]) for begin in (0, start)] if end else []
    return [(".".join([*one, ""]), ".".join([*other, ""])) for one, other in parts if one and other]


def _shared(one: list[str], other: list[str]) -> int:
    """How many components both begin with."""
    pairs = zip(one, other, strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


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
