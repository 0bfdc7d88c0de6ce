"""What must be the same on all ranks of a run, compared before it begins."""

from minideeplab.distributed.group import Alone
from minideeplab.errors import UsageError


def differences(group: Alone, facts: dict) -> list[str]:
    """What differs between rank 0 and others, in words; the same list on every rank.

    Args:
        facts: name -> value, small; its `repr` is compared.
    """
    everywhere = group.all((getattr(group, "name", ""), {name: repr(value) for name, value in facts.items()}))
    (_, first), *others = everywhere
    found = []
    for name in first:
        for who, theirs in others:
            if theirs.get(name) != first[name]:
                found.append(f"{name} is {_shown(theirs.get(name))} on {who}, and {_shown(first[name])} on rank 0")
                break
    return found


def require_same(group: Alone, facts: dict, remedy: str) -> None:
    """Raises UsageError, on every rank, where `facts` differ; `remedy` is the next step, in words."""
    if found := differences(group, facts):
        raise UsageError(f"the ranks do not fit together: {'; '.join(found[:3])}; {remedy}")


def _shown(text: str | None) -> str:
    text = "missing" if text is None else text
    return text if len(text) <= 60 else f"{text[:57]}..."
