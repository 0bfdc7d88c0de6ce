"""The average of weights over the steps of training."""

import kernels


class WeightAverage:
    """An exponential moving average of all parameters and buffers of a network, kept as a network of its own.

        average <- d average + (1 - d) value,    d = min(decay, (1 + t) / (10 + t))    after t earlier updates

    The running statistics of batch norm are averaged like the weights: both then lag behind the newest step by the same
    1 / (1 - d) steps, and the statistics describe the activations that the averaged weights give. Statistics that are
    copied from the newest step would belong to other weights.

    Args:
        module: the network that is trained.
        decay: in [0, 1); 0 gives the newest values.

    Attributes:
        model: the averaged network, in evaluation mode; it begins as a copy of `module`.

    Cost: memory of two more networks; one pass over all weights in each update.

    Source: Polyak and Juditsky 1992; warm-up of the decay as in TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, module, decay):
        if not 0 <= decay < 1:
            raise ValueError(f"WeightAverage: decay must be 0 or more and below 1, got {decay}")
        self.module, self.decay, self.model = module, decay, module.twin().eval()
        self._differences = [kernels.load(t.device).zeros(t.shape, t.dtype) for t in self.model.arrays()]

    def update(self, updates):
        """Takes in the present values, after so many `updates` before."""
        rest = 1 - min(self.decay, (1 + updates) / (10 + updates))
        averages, values = ([t.data for t in module.arrays()] for module in (self.model, self.module))
        # The optimiser's kernel, v <- grad + weight_decay p and p <- p - lr v, with a decay of -1 and a rate of -rest:
        # v = value - average, average <- average + rest v.
        k = kernels.load(kernels.device_of(*averages, *values))
        k.sgd_update(averages, self._differences, values, -rest, 0.0, [-1.0] * len(values))
