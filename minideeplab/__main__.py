"""Lists the commands: `python -m minideeplab`. With a command and its options it runs that."""

import difflib
import importlib.metadata
import os
import runpy
import sys

COMMANDS = {
    "train": "trains a network on a data set",
    "evaluate": "scores a checkpoint on a data set",
    "predict": "segments photographs with a checkpoint",
    "inspect_data": "checks and shows a data set, before training",
    "export": "writes a checkpoint for other programs: ONNX, a page for browsers, torchvision",
    "crf": "refines labels or probabilities by a dense CRF",
    "summary": "says what a network costs, layer by layer",
    "bench": "measures kernels and networks on this machine",
    "teach": "prepares the notebooks in tutorials/",
}
USAGE = 2


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    if argv == ["--version"]:
        print(f"minideeplab {importlib.metadata.version('minideeplab')}")
        return 0
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print("\n".join(f"python -m minideeplab.{name:{width}s}  {what}" for name, what in COMMANDS.items()))
        print("\nEach has --help, with an example.")
        return 0
    command, *rest = argv
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        print(f"error: no command {command}; {hint}", file=sys.stderr)
        return USAGE
    sys.argv[1:] = rest
    runpy.run_module(f"minideeplab.{command}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read the list has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
