"""What the facts about a data set mean for training, in words: one function for each kind of finding."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from minideeplab.data.likeness import COMPARED, groups_of_equals, near_pairs
from minideeplab.data.statistics import LISTED_CLASSES, SEE_MASKS, label_warnings, require_labels, shared_images
from minideeplab.data.transforms import side_of_copies, view_warning
from minideeplab.data.turning import single_turns, swapped_turn, whole_turn
from minideeplab.errors import DataError

PROBLEM, WARNING, HINT = "problem", "warning", "hint"
RARE_SHARE = 0.001  # of the labelled pixels
RARE_IMAGES, MANY_IMAGES = 3, 20  # a class in fewer images, in a split of so many
SMALL_AREA = 16**2  # pixels: one position of the features at output stride 16
MUCH_VOID = 0.5
ODD_FACTOR = 4  # on the median of the longer or the shorter side
PHONES = (
    "Phones store a photograph as the sensor saw it, and in EXIF how to turn it; minideeplab turns the image, and does "
    "not touch the mask"
)


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        level: "problem": training would fail; "warning": its result would be bad or too good; "hint": look at it.
        kind: one word for programs, such as "unreadable"; see data/README.md.
        text: what is so, a sentence without its full stop; fix: what to do, "" if the text says it.
        splits: the splits concerned; ids: the samples concerned, all of them.
    """

    level: str
    kind: str
    text: str
    fix: str
    splits: tuple[str, ...]
    ids: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """The attributes but for the level; tuples as lists."""
        values = dataclasses.asdict(self)
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if name != "level"
        }


def findings_of(splits: Sequence, crop_size: int, scale_range: Sequence[float]) -> list[Finding]:
    """All that is to be said of some splits.

    Args:
        splits: `inspection.SplitFacts` of each, the one to train on first; crop_size, scale_range: of
            the training views.
    """
    found: list[Finding] = []
    for facts in splits:
        found += [*_unreadable(facts), *_labels(facts), *_turned(facts), *_sizes(facts, crop_size, scale_range)]
    found += [*_training_classes(splits[0]), *_classes_to_measure(splits)]
    return [*found, *_shared_ids(splits), *_equal_images(splits), *_similar_images(splits)]


def _unreadable(facts) -> Iterator[Finding]:
    for i, message in facts.faults:
        yield Finding(PROBLEM, "unreadable", message, "", (facts.dataset.split,), facts.ids_of([i]))


def _labels(facts) -> Iterator[Finding]:
    split, per_mask = (facts.dataset.split,), facts.labels_per_mask
    if not facts.usable.any():
        return
    if not facts.counts.labelled:
        try:
            require_labels(facts.dataset, facts.counts)
        except DataError as error:
            yield Finding(PROBLEM, "no_label", str(error), "", split)
        return
    if len(empty := np.flatnonzero(per_mask == 0)):
        text = (
            f"split '{split[0]}': {_count(len(empty), 'mask')} without a labelled pixel: {_some(facts.ids_of(empty))}"
        )
        yield Finding(WARNING, "void_mask", text, "label them, or remove their ids", split, facts.ids_of(empty))
    if len(single := np.flatnonzero(per_mask == 1)):
        share = len(single) / max(1, (per_mask >= 0).sum())
        text = f"split '{split[0]}': {_count(len(single), 'mask')} with one class only: {_some(facts.ids_of(single))}"
        fix = "as it should be where images show nothing else; otherwise label the rest"
        yield Finding(WARNING if share > 0.5 else HINT, "one_class_mask", text, fix, split, facts.ids_of(single))
    if facts.counts.void_share > MUCH_VOID:
        text = f"split '{split[0]}': {100 * facts.counts.void_share:.1f} % of all pixels are void, and teach nothing"
        fix = f"is {facts.counts.ignore_index} a class that should be learnt? Then store it as the label of that class"
        yield Finding(WARNING, "void", text, fix, split)


def _training_classes(facts) -> Iterator[Finding]:
    """Classes that never, or hardly ever, occur in the split to train on."""
    counts, names, split = facts.counts, facts.dataset.class_names, (facts.dataset.split,)
    if not counts.labelled:
        return
    for sentence in label_warnings(facts.dataset, counts):
        yield Finding(WARNING, "absent_class", sentence.removesuffix(SEE_MASKS), "", split)
    present = [label for label in facts.labels if counts.pixels[label]]
    few = counts.masks < RARE_IMAGES if len(facts.dataset) >= MANY_IMAGES else np.zeros(256, bool)
    rare = [label for label in present if counts.pixels[label] < RARE_SHARE * counts.labelled or few[label]]
    if rare:
        shown = (
            f"'{names[label]}' ({100 * counts.pixels[label] / counts.labelled:.2g} % of pixels, "
            f"{_count(counts.masks[label], 'image')})"
            for label in rare
        )
        text = f"split '{split[0]}': classes that are hardly there: {_some(shown, LISTED_CLASSES)}"
        yield Finding(WARNING, "rare_class", text, "label more of them, or train with --class-weights root", split)
    small = [label for label in present if counts.pixels[label] / counts.masks[label] < SMALL_AREA]
    if small:
        shown = (
            f"'{names[label]}' ({counts.pixels[label] / counts.masks[label]:.0f} pixels an image)" for label in small
        )
        text = f"split '{split[0]}': classes of fewer than 16 x 16 pixels in an image: {_some(shown, LISTED_CLASSES)}"
        fix = "they vanish in features of output stride 16: use larger images, or train with --output-stride 8"
        yield Finding(HINT, "small_class", text, fix, split)


def _classes_to_measure(splits) -> Iterator[Finding]:
    """Classes that never occur in a split which is not the one to train on."""
    trained, *others = splits
    for facts in others:
        absent, known = facts.counts.absent, trained.counts
        if not absent or not facts.counts.labelled:
            continue
        names, split = facts.dataset.class_names, facts.dataset.split
        shown = _some((f"'{names[label]}' ({label})" for label in absent), LISTED_CLASSES)
        measured = len(facts.labels) - len(absent)
        text = (
            f"split '{split}' has no pixel of {len(absent)} of {len(facts.labels)} classes: {shown}; "
            f"its mean IoU is one over {_count(measured, 'class')}, and says nothing about these"
        )
        fix = f"move samples that show them into '{split}'" if any(known.pixels[absent]) else ""
        yield Finding(WARNING, "absent_class", text, fix, (split,))


def _turned(facts) -> Iterator[Finding]:
    split = facts.dataset.split
    look = "look at the pictures that --out writes"
    whole = whole_turn(facts.agreement)
    if whole:
        text = (
            f"split '{split}': the masks fit their images better {whole.name}: edges agree at {whole.turned:.2f} "
            f"instead of {whole.stored:.2f} (median correlation of {_count(whole.samples, 'sample')})"
        )
        fix = f"{look}, and export the masks again so that they lie as the images. {PHONES}"
        yield Finding(WARNING, "turned", text, fix, (split,))
    elif singles := single_turns(facts.agreement):
        ids = facts.ids_of([row for row, _ in singles])
        shown = _some(f"{name} ({turn})" for name, (_, turn) in zip(ids, singles, strict=True))
        text = f"split '{split}': {_count(len(singles), 'mask')} that fit their images far better turned: {shown}"
        yield Finding(WARNING, "turned", text, f"{look}, and export these masks again. {PHONES}", (split,), ids)
    swapped = np.flatnonzero(np.isnan(facts.agreement[:, 0]) & ~np.isnan(facts.agreement[:, -1]))
    if len(swapped):
        quarter = swapped_turn(facts.agreement[swapped])
        name = quarter.name if quarter else "turned by 90 degrees"
        text = f"split '{split}': {_count(len(swapped), 'mask')} as high as the image is wide, and would fit {name}"
        ids = facts.ids_of(swapped)
        yield Finding(WARNING, "turned", text, f"export the masks again, turned. {PHONES}", (split,), ids)


def _sizes(facts, crop_size: int, scale_range) -> Iterator[Finding]:
    split, known = facts.dataset.split, np.flatnonzero(facts.sizes[:, 0] > 0)
    if not len(known):
        return
    sides = np.sort(facts.sizes[known], axis=1)  # shorter, longer
    middle = np.median(sides, axis=0)
    odd = ((sides * ODD_FACTOR < middle) | (sides > middle * ODD_FACTOR)).any(axis=1)
    if odd.any():
        shown = _some(f"{facts.dataset.ids[i]} ({facts.sizes[i, 1]} x {facts.sizes[i, 0]})" for i in known[odd])
        text = (
            f"split '{split}': {_count(odd.sum(), 'image')} whose longer or shorter side is over {ODD_FACTOR} times, "
            f"or under a quarter of, the median: {shown}"
        )
        yield Finding(HINT, "odd_size", text, "are they of this data set?", (split,), facts.ids_of(known[odd]))
    if sentence := view_warning(crop_size, scale_range, facts.sizes[known]):
        text = f"split '{split}': {sentence}"
        fix = f"make smaller copies: inspect_data with --convert NEW --longest-side {side_of_copies(crop_size)}"
        yield Finding(WARNING, "large_image", text, fix, (split,))


def _shared_ids(splits) -> Iterator[Finding]:
    for k, first in enumerate(splits):
        for second in splits[k + 1 :]:
            shared = shared_images(first.dataset, second.dataset)
            if shared:
                names = (first.dataset.split, second.dataset.split)
                text = f"{_count(len(shared), 'id')} in both '{names[0]}' and '{names[1]}': {_some(shared)}"
                fix = "scores on images that were trained on are too good: keep each id in one split"
                yield Finding(WARNING, "shared_id", text, fix, names, shared)


def _equal_images(splits) -> Iterator[Finding]:
    places, digests, masks = _all_images(splits, "images"), *_joined(splits, "images", "masks")
    within, across, contrary = [], [], []
    for group in groups_of_equals(digests):
        members = [places[i] for i in group]
        if len({name for _, name in members}) == 1:
            continue  # one file, listed in two splits
        (within if len({split for split, _ in members}) == 1 else across).append(members)
        if len({masks[i] for i in group if masks[i] is not None}) > 1:
            contrary.append(members)
    if across:
        text = f"{_count(len(across), 'image')} in several splits under different ids: {_shown(across)}"
        fix = "scores on images that were trained on are too good: keep one of each"
        yield _of_groups(WARNING, "leak", text, fix, across)
    if within:
        text = f"{_count(len(within), 'image')} more than once in a split: {_shown(within)}"
        yield _of_groups(WARNING, "duplicate", text, "keep one of each", within)
    if contrary:
        text = f"{_count(len(contrary), 'image')} with equal pixels, but different masks: {_shown(contrary)}"
        yield _of_groups(WARNING, "contrary_masks", text, "keep the right mask of each", contrary)


def _similar_images(splits) -> Iterator[Finding]:
    places, hashes, digests = _all_images(splits, "hashes"), *_joined(splits, "hashes", "images")
    names = tuple(facts.dataset.split for facts in splits)
    if sum(each is not None for each in hashes) > COMPARED:
        yield Finding(HINT, "not_compared", f"over {COMPARED} images: similar ones were not looked for", "", names)
    pairs = [(i, j) for i, j in near_pairs(hashes) if digests[i] != digests[j] and places[i][1] != places[j][1]]
    across = [(places[i], places[j]) for i, j in pairs if places[i][0] != places[j][0]]
    within = [(places[i], places[j]) for i, j in pairs if places[i][0] == places[j][0]]
    for kind, where, found in (("near_leak", "of two splits", across), ("near_duplicate", "of one split", within)):
        if found:
            number = len({place for pair in found for place in pair})
            text = f"{_count(number, 'image')} {where} that look alike: {_shown(found)}"
            more = ", and keep neighbours in time in one split" if where == "of two splits" else ""
            yield _of_groups(HINT, kind, text, f"are they frames of one video, or copies? Look at them{more}", found)


def _all_images(splits, attribute) -> list[tuple[str, str]]:
    """(split, id) of every sample of all splits."""
    return [(facts.dataset.split, name) for facts in splits for name in facts.dataset.ids]


def _joined(splits, *attributes) -> list[list]:
    return [[value for facts in splits for value in getattr(facts, attribute)] for attribute in attributes]


def _of_groups(level, kind, text, fix, groups) -> Finding:
    splits = dict.fromkeys(split for group in groups for split, _ in group)
    ids = dict.fromkeys(name for group in groups for _, name in group)
    return Finding(level, kind, text, fix, tuple(splits), tuple(ids))


def _shown(groups) -> str:
    """The first groups: "a = b (val)"."""
    home = groups[0][0][0]
    names = (
        " = ".join(name if split == home else f"{name} ({split})" for split, name in dict.fromkeys(group))
        for group in groups
    )
    return _some(names, 5)


def _some(names, most: int = 8) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _count(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
