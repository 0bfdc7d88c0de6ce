"""SGD with momentum, and the learning-rate policies of the papers."""

import numpy as np

import kernels
from minideeplab.nn.comparison import differences


def poly(base_lr, step, max_steps, power=0.9, end_lr=0.0):
    """lr = (base_lr - end_lr) (1 - step / max_steps)^power + end_lr (DeepLab v2, section 4.1; PSPNet, section 5.1)."""
    if not 0 <= step <= max_steps:
        raise ValueError(f"poly: step must be in 0 .. {max_steps}, got {step}")
    return (base_lr - end_lr) * (1 - step / max_steps) ** power + end_lr


def step_policy(base_lr, step, every, factor=0.1):
    """lr = base_lr factor^floor(step / every) (DeepLab v1, section 4.1: a tenth after every 2000 steps)."""
    if step < 0 or every < 1:
        raise ValueError(f"step_policy: step must be >= 0 and every >= 1, got {step} and {every}")
    return base_lr * factor ** (step // every)


class SGD:
    """v <- momentum v + grad + weight_decay p;  p <- p - lr v. Batch norm and biases are not decayed.

    Args:
        module: the Module whose parameters are trained.
        lr: default learning rate of `step`.
        lr_factors: factor on the learning rate by name of the parameter; 1 for those that are not named.
    """

    def __init__(self, module, lr, momentum=0.9, weight_decay=1e-4, lr_factors=None):
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"SGD: {name} must be >= 0, got {value}")
        self.parameters = dict(module.named_parameters())
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.lr_factors = dict(lr_factors or {})
        if unknown := sorted(self.lr_factors.keys() - self.parameters.keys()):
            raise ValueError(f"SGD: lr_factors names {unknown[0]}, which is no parameter")
        self.velocity = {}
        for name, p in self.parameters.items():
            self.velocity[name] = kernels.load(p.device).zeros(p.shape, p.dtype)

    def step(self, lr=None):
        """Update every parameter that has a gradient."""
        lr = self.lr if lr is None else lr
        groups = {}  # {factor on the rate: names}
        for name, p in self.parameters.items():
            if p.grad is not None:
                groups.setdefault(self.lr_factors.get(name, 1.0), []).append(name)
        for factor, names in groups.items():
            trained = [self.parameters[name] for name in names]
            data, grads = [p.data for p in trained], [p.grad for p in trained]
            velocities = [self.velocity[name] for name in names]
            decays = [self.weight_decay if p.decays else 0.0 for p in trained]
            k = kernels.load(kernels.device_of(*data, *grads))
            k.sgd_update(data, velocities, grads, factor * lr, self.momentum, decays)

    def zero_grad(self):
        """Forget all gradients."""
        for p in self.parameters.values():
            p.grad = None

    def state_dict(self):
        """{parameter name: copy of its velocity}."""
        return {name: np.array(kernels.load(kernels.device_of(v)).to_numpy(v)) for name, v in self.velocity.items()}

    def load_state_dict(self, state):
        """Take all velocities from `state`.

        Raises:
            ValueError: other names or shapes than the parameters have; all of them are listed and nothing is loaded.
        """
        expected = {name: p.shape for name, p in self.parameters.items()}
        wrong = differences(expected, {name: v.shape for name, v in state.items()})
        if wrong:
            raise ValueError(f"SGD: the optimiser's state does not fit the model: {wrong.counts()}\n{wrong.table()}")
        for name, p in self.parameters.items():
            self.velocity[name] = kernels.load(p.device).from_numpy(np.array(state[name], p.dtype, order="C"))
