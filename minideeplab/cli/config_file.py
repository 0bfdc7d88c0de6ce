"""Options that do not come from the command line: a TOML file, or keywords of a function.

A file is turned into the arguments that it stands for, and these go through the same parser: there is one place that
knows what an option may be.
"""

import argparse
import difflib
import json
import numbers
import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from minideeplab.cli.parser import Parser
from minideeplab.errors import UsageError
from minideeplab.files.ordinary import read_small, require_ordinary
from minideeplab.files.refusal import Refusal

# A file of all options has 2000 bytes; a label map, which is JSON in one line, up to 20 000. A key of n parts, a.a.a,
# takes tomllib n^2 steps and bytes: other lines are bounded, and the dots of each.
MAX_BYTES, MAX_LINE, MAX_DOTS = 64_000, 4_100, 600
_JSON_LINE = re.compile(rb'[\w-]+ = "[\[{]')


def with_config(parser: Parser, argv: Sequence[str]) -> list[str]:
    """The command line with the options of its --config FILE.toml before it, so that the command line wins.

    Raises:
        UsageError: a file that cannot be read, or an option in it that the parser refuses.
    """
    given = given_arguments(parser, argv)
    path = given.get("config")
    if path is None:
        return list(argv)
    options = read_toml(path)
    arguments_of(parser, options, path)
    for group in parser._mutually_exclusive_groups:  # of --epochs and --steps the command line has the say
        if any(action.dest in given for action in group._group_actions):
            rivals = {action.dest for action in group._group_actions}
            options = {key: value for key, value in options.items() if key.replace("-", "_") not in rivals}
    return arguments_of(parser, options, path) + list(argv)


def read_toml(path: str | Path) -> dict:
    """The keys and values of a TOML file, of a bounded size.

    Raises:
        UsageError: no such file, or it is no TOML.
    """
    try:
        require_ordinary(path)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise UsageError(f"--config {path}: it cannot be read ({error}); give the name of a .toml file") from error
    try:
        data = read_small(path, MAX_BYTES)
    except (OSError, Refusal) as error:
        raise UsageError(f"--config {path}: {error}; that is no file of options") from error
    for line in data.split(b"\n"):
        too_long = len(line) > MAX_LINE and not _JSON_LINE.match(line)
        if too_long or line.count(b".") > MAX_DOTS:
            most = f"{MAX_LINE} bytes" if too_long else f"{MAX_DOTS} dots"
            raise UsageError(f"--config {path}: it has a line of more than {most}; that is no file of options")
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {path}: it is no TOML ({error}); write lines such as: crop-size = 193") from error


def arguments_of(parser: Parser, options: Mapping, source: str | Path) -> list[str]:
    """Options by name, with - or _ between the words, as the arguments of a command line, checked by its parser.

    True and False are flags, a list is several values, None leaves an option out.

    Args:
        source: where the options come from, for messages.

    Raises:
        UsageError: an option that the parser does not have (the nearest one is named), or a value that it refuses.
    """
    known = {action.option_strings[0]: action for action in _storing(parser)}
    arguments = []
    for key, value in options.items():
        option = f"--{key.replace('_', '-')}"
        if option not in known:
            raise UsageError(f"{source}: {_unknown(key, value, known)}")
        arguments += _as_arguments(known[option], option, value, f"{source}: {key}")
    parser.raises = True
    try:
        given_arguments(parser, arguments)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error
    finally:
        parser.raises = False
    return arguments


def config_text(parser: Parser, args: argparse.Namespace, without: Collection[str]) -> str:
    """The TOML file that stands for parsed arguments; files are named by their full paths.

    Args:
        without: names of arguments that the file does not hold.
    """
    lines = []
    for action in _storing(parser):
        value = getattr(args, action.dest, None)
        if value is None or action.dest in without:
            continue
        if action.metavar == "FILE" and os.path.isfile(value):  # False for text that is no name of a file
            value = str(Path(value).resolve())
        lines.append(f"{action.option_strings[0].removeprefix('--')} = {_toml(value)}\n")
    return "".join(lines)


def given_arguments(parser: Parser, argv: Sequence[str]) -> dict:
    """The arguments that a command line gives, by name, without the defaults."""
    unset = object()  # argparse fills in defaults only for what is not set yet: what differs from the marker was given
    empty = argparse.Namespace(**{action.dest: unset for action in parser._actions if action.dest != "help"})
    return {name: value for name, value in vars(parser.parse_args(argv, empty)).items() if value is not unset}


def _storing(parser: Parser) -> list[argparse.Action]:
    """The options that have a value."""
    return [action for action in parser._actions if action.option_strings and action.dest not in ("help", "config")]


def _unknown(key: str, value, known: Mapping) -> str:
    if isinstance(value, dict):
        return f"[{key}] is a table; write all options at the top, such as: crop-size = 193"
    names = [option.removeprefix("--") for option in known]
    near = difflib.get_close_matches(key.replace("_", "-"), names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
    return f"there is no option {key!r}; {hint}"


def _as_arguments(action: argparse.Action, option: str, value, where: str) -> list[str]:
    if value is None:
        return []
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise UsageError(f"{where} must be true or false, got {value!r}")
        negative = [each for each in action.option_strings if each.startswith("--no-")]
        return [option] if value else negative[:1]
    several = isinstance(value, (list, tuple))
    if several and action.nargs is None:
        raise UsageError(f"{where} takes one value, got {value!r}")
    words = [_word(each, where) for each in (value if several else [value])]
    if several and (flags := [word for word in words if word.startswith("--")]):
        raise UsageError(f"{where}: {flags[0]} is not a value")
    return [option, *words] if several else [f"{option}={words[0]}"]


def _word(value, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real, Path)):
        raise UsageError(f"{where} must be text or a number, got {value!r}")
    try:
        return str(value)
    except ValueError as error:  # a number of thousands of digits
        raise UsageError(f"{where}: {error}") from error


def _toml(value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, (int, float)):
        return repr(value)
    text = str(value).encode("utf-8", "replace").decode()  # a path may hold bytes that are no text
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML's text is JSON's but for DEL
