"""Settings of a dense CRF by name; nothing of the CRF itself is needed to read or check them."""

import ast
import dataclasses
import math
import numbers
from dataclasses import dataclass

NORMALISATIONS = ("none", "before", "after", "symmetric")
MOST_ITERATIONS = 10_000  # inference has come to rest long before
LEAST_PROBABILITY = 1e-5  # before a logarithm is taken
SMOOTHNESS = ("lattice", "separable")
KINDS = ("probabilities", "logits", "labels")


@dataclass(frozen=True)
class Preset:
    """Settings of two kernels, of appearance and of smoothness.

        w1 exp(-|dp|^2 / (2 sxy^2) - |dI|^2 / (2 srgb^2)) + w2 exp(-|dp|^2 / (2 smooth_sxy^2))

    Attributes:
        bilateral_weight (w1), sxy, srgb: of the first, in pixels and colours of 0 .. 255.
        smooth_weight (w2), smooth_sxy: of the second.
        iterations, normalisation: of inference, see filters.py.
    """

    bilateral_weight: float
    sxy: float
    srgb: float
    smooth_weight: float
    smooth_sxy: float
    iterations: int
    normalisation: str

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            values = value if isinstance(value, (tuple, list)) and "weight" not in field.name else [value]
            are_numbers = bool(values) and all(_is_number(each) for each in values)
            if field.name == "normalisation":
                valid, expected = value in NORMALISATIONS, f"one of {', '.join(NORMALISATIONS)}"
            elif field.name == "iterations":
                valid = isinstance(value, numbers.Integral) and _is_number(value) and 0 <= value <= MOST_ITERATIONS
                too_many = _is_number(value) and value > MOST_ITERATIONS
                expected = f"a whole number up to {MOST_ITERATIONS}" if too_many else "a whole number, 0 or more"
            elif field.name.endswith("weight"):
                valid, expected = are_numbers and value >= 0, "a number, 0 or more"
            else:
                valid, expected = are_numbers and min(values) > 0, "a number above 0, or one for each dimension"
            if not valid:
                raise ValueError(f"{field.name} must be {expected}, got {value!r}")


def _is_number(value):
    try:
        return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond float64
        return False


#: v1 and v2 fix smoothness and iterations and search the rest on 100 images (section 5.1 and 4.1); the rest here: v1,
#: its released script; v2, within its range, from kazuto1011/deeplab-pytorch. CRF as RNN: its released layer.
PRESETS = {
    "deeplab-v1": Preset(5, 50, 10, 3, 3, 10, "after"),
    "deeplab-v2": Preset(4, 67, 3, 3, 3, 10, "after"),
    "crfasrnn": Preset(5, 160, 3, 3, 3, 10, "after"),
    "pydensecrf": Preset(10, 80, 13, 3, 3, 5, "symmetric"),
}


def preset_of(text, **changes):
    """The preset of that name with some settings changed.

    Args:
        text: a name, or a name and settings: "deeplab-v2,sxy=50,srgb=5"; or a `Preset`.
        changes: settings; None changes nothing.

    Raises:
        ValueError: an unknown name or setting, or a value that a setting cannot have.
    """
    changes = {setting: value for setting, value in changes.items() if value is not None}
    name, *given = [text] if isinstance(text, Preset) else str(text).split(",")
    if not isinstance(name, Preset) and name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    for change in given:
        setting, _, value = change.partition("=")
        setting = setting.strip().replace("-", "_")  # as the command's options have it
        _check_known([setting])
        changes.setdefault(setting, value.strip() if setting == "normalisation" else _number_of(value, change, text))
    _check_known(changes)
    return dataclasses.replace(PRESETS.get(name, name), **changes)


def _check_known(settings):
    known = [field.name for field in dataclasses.fields(Preset)]
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"unknown setting {', '.join(unknown)}; there are {', '.join(known)}")


def _number_of(value, change, text):
    """The number, or the tuple of numbers, that stands in the text."""
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{change!r} in {text!r}: expected SETTING=NUMBER, such as sxy=50") from error
