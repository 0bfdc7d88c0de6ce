"""The core: tensors that remember how they were made, differentiable operations, and checks of their derivatives."""

from minideeplab.autograd import ops
from minideeplab.autograd.function import no_grad
from minideeplab.autograd.gradcheck import gradcheck
from minideeplab.autograd.precision import precision
from minideeplab.autograd.tensor import Tensor

__all__ = ["Tensor", "gradcheck", "no_grad", "ops", "precision"]
