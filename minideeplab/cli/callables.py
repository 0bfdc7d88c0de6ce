"""Commands that can be called from Python, too: `minideeplab.evaluate(...)`, although that is a module."""

import inspect
import sys
import types
from collections.abc import Callable


def callable_module(name: str, function: Callable) -> None:
    """Lets a module be called as `function`; the last line of a command is `callable_module(__name__, evaluate)`.

    `import minideeplab.evaluate` makes the module an attribute of the package, so no function can have this name.
    Python looks `__call__` up in the class of an object, and allows a module another class (language reference,
    "Customizing module attribute access").
    """
    if name != "__main__":  # run as a command: nobody calls it
        # inspect takes the first argument of __call__ for `self`: notebooks show the signature that is given here.
        own = {"__call__": staticmethod(function), "__signature__": inspect.signature(function)}
        sys.modules[name].__class__ = type("CommandModule", (types.ModuleType,), own)
