"""Arguments that come from a file: they must be such as the command line could have given."""

import argparse
from collections.abc import Mapping

from minideeplab.files.refusal import shown


def stored_arguments(parser: argparse.ArgumentParser, values: Mapping) -> dict:
    """The values of an earlier command line, as that parser would have read them.

    Args:
        parser: of the command.
        values: {name: value}, as JSON holds `vars` of the parsed arguments.

    Raises:
        ValueError: a name or a value that the parser could not have given.
    """
    actions = {action.dest: action for action in parser._actions}
    if unknown := sorted(values.keys() - actions.keys()):
        raise ValueError(f"{shown(unknown[0])} is no argument of this version")
    return {name: _read(actions[name], value) for name, value in values.items()}


def _read(action: argparse.Action, value):
    """A value that `action` takes, or ValueError."""
    if value is None and action.default is None:
        return None
    many = action.nargs in ("+", "*") or (isinstance(action.nargs, int) and action.nargs > 0)
    if not many:
        return _one(action, value)
    count = len(value) if isinstance(value, list) else -1
    if not (count == action.nargs if isinstance(action.nargs, int) else count >= (action.nargs == "+")):
        raise ValueError(_refusal(action, value))
    return [_one(action, each) for each in value]


def _one(action: argparse.Action, value):
    if action.nargs == 0:  # a flag
        if type(value) is bool:
            return value
        raise ValueError(_refusal(action, value))
    expected = str if action.type is None else (int, float, str)
    if not isinstance(value, expected) or isinstance(value, bool):
        raise ValueError(_refusal(action, value))
    try:
        read = value if action.type is None else action.type(str(value))
    except (argparse.ArgumentTypeError, ValueError, TypeError) as error:
        raise ValueError(_refusal(action, value)) from error
    if read != value or (action.choices is not None and read not in action.choices):
        raise ValueError(_refusal(action, value))
    return read


def _refusal(action: argparse.Action, value) -> str:
    return f"{action.option_strings[-1] if action.option_strings else action.dest} is {shown(value)}"
