"""Names of networks, and what to say of an unknown one."""

import difflib


def check_name(kind, name, names):
    """Raise ValueError unless `name` is among `names`; the message has those that contain it or are near it, or all."""
    if name not in names:
        near = [each for each in names if name and str(name).lower() in each][:3]
        near = near or difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        raise ValueError(
            f"unknown {kind} {name!r}; "
            + (f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}")
        )
