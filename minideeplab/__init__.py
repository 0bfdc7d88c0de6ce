"""minideeplab: a small, fast, from-scratch engine for the DeepLab family.

from minideeplab import Tensor, models
model = models.build("deeplabv3plus", backbone="resnet18", num_classes=21, output_stride=16)
logits = model(Tensor(images))        # (N, H, W, 3) float32 -> (N, H, W, 21)
"""

import sys

from minideeplab import models, nn
from minideeplab.autograd import Tensor, gradcheck, no_grad, ops

sys.modules["minideeplab.ops"] = ops  # its public name: `import minideeplab.ops` finds it, too

__version__ = "0.1.0"
__all__ = ["Tensor", "gradcheck", "models", "nn", "no_grad", "ops"]
