"""The arrays that a network expects, compared with those that a file or a state has."""

from collections.abc import Mapping
from dataclasses import dataclass

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Differences:
    """What does not fit; true where there is anything.

    Attributes:
        expected, found: shapes by name.
        missing: names that are expected and not found.
        unknown: names that are found and not expected.
        misshapen: names that have another shape than expected.
    """

    expected: Shapes
    found: Shapes
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    misshapen: tuple[str, ...]

    def __len__(self):
        return len(self.missing) + len(self.unknown) + len(self.misshapen)

    def counts(self) -> str:
        """One clause: how many arrays differ in which way, or that none fits."""
        if self._nothing_fits():
            return f"none of the {len(self.found)} arrays has a name and a shape that are expected"
        return (
            f"{len(self.missing)} arrays are missing, {len(self.unknown)} are unknown and "
            f"{len(self.misshapen)} have another shape"
        )

    def table(self, limit: int = 20) -> str:
        """A line for each array that does not fit, `limit` at most; a few of each kind where nothing fits at all."""
        kinds = (self.missing, self.misshapen, self.unknown)
        names = [name for kind in kinds for name in (kind[:3] if self._nothing_fits() else kind)][:limit]
        rows = [f"  {_plain(name)}: {_shape(self.expected, name)} / {_shape(self.found, name)}" for name in names]
        more = [f"  ... and {len(self) - len(names)} more"] if len(self) > len(names) else []
        return "\n".join(["  array: expected / found", *rows, *more])

    def _nothing_fits(self) -> bool:
        return bool(self.found) and len(self.unknown) + len(self.misshapen) == len(self.found)


def differences(expected: Shapes, found: Shapes) -> Differences:
    """Compares shapes by name, in the order of both."""
    return Differences(
        expected,
        found,
        missing=tuple(name for name in expected if name not in found),
        unknown=tuple(name for name in found if name not in expected),
        misshapen=tuple(name for name in expected if name in found and tuple(expected[name]) != tuple(found[name])),
    )


def _shape(shapes: Shapes, name: str) -> str:
    return str(tuple(shapes[name])) if name in shapes else "nothing"


def _plain(name: str) -> str:
    """On one line, and short: names may come from a file."""
    text = repr(str(name))[1:-1]
    return text if len(text) <= 80 else text[:77] + "..."
