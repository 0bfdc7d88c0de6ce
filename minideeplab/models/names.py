"""Names of networks, and what to say of an unknown one."""

import difflib


def check_name(kind, name, names):
    """Raise ValueError unless `name` is among `names`; the message has the near ones, or all."""
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        raise ValueError(
            f"unknown {kind} {name!r}; "
            + (f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}")
        )
