"""minideeplab: a small, fast, from-scratch engine for the DeepLab family.

from minideeplab import Tensor, models
model = models.build("deeplabv3plus", backbone="resnet18", num_classes=21, output_stride=16)
logits = model(Tensor(images))        # (N, H, W, 3) float32 -> (N, H, W, 21)

`minideeplab.precision("bf16")` computes feature maps in bfloat16, on the CPU.

The commands as functions: `minideeplab.fit(...)` trains, `minideeplab.evaluate(...)`, `minideeplab.predict(...)`.
"""

import importlib
import sys

from minideeplab import models, nn
from minideeplab.autograd import Tensor, gradcheck, no_grad, ops, precision

sys.modules["minideeplab.ops"] = ops  # its public name: `import minideeplab.ops` finds it, too

__version__ = "0.1.0"
__all__ = ["Tensor", "evaluate", "fit", "gradcheck", "models", "nn", "no_grad", "ops", "precision", "predict"]

# Imported when asked for: `python -m minideeplab.evaluate` warns if the package has imported the command before.
_COMMANDS = {"evaluate": "minideeplab.evaluate", "predict": "minideeplab.predict", "fit": "minideeplab.train.fit:fit"}


def __getattr__(name: str):
    if name not in _COMMANDS:
        raise AttributeError(f"module 'minideeplab' has no attribute {name!r}")
    module, _, function = _COMMANDS[name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, function) if function else found


def __dir__() -> list[str]:
    return sorted({*globals(), *_COMMANDS})
