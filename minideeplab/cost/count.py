"""What a network costs: parameters, multiply-adds, receptive field, memory.

A network is counted by running it on arrays that have no numbers (`kernels.shapes`) and tracing its layers: what is
counted is what would run. Multiply-adds are those of convolutions, each once, padding included, as the papers count.
"""

from dataclasses import asdict, dataclass

import kernels
from minideeplab.autograd import Tensor
from minideeplab.cost.trace import TracedLayer, run
from minideeplab.nn import Module


@dataclass
class Cost:
    """A network's layers in the order in which they run, and its totals for one image.

    Attributes:
        parameters: all that the network has, those included that no layer uses.
        receptive_field: of an output of the first head, paths through pooling to a number of bins left out; of a
            classifier, of its last features.
        layers: with neither seconds nor values.
    """

    parameters: int
    receptive_field: int
    layers: list[TracedLayer]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def macs_space_to_batch(self) -> int:
        return sum(layer.macs_space_to_batch for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        return sum(layer.activation_bytes for layer in self.layers)

    def as_dict(self) -> dict:
        """Totals and layers as JSON can hold them."""
        totals = ("parameters", "macs", "macs_space_to_batch", "receptive_field", "activation_bytes")
        layers = [asdict(layer) for layer in self.layers]
        for layer in layers:
            del layer["values"]
        return {name: getattr(self, name) for name in totals} | {"layers": layers}


def cost_of(model: Module, size: int | tuple[int, int] = 513) -> Cost:
    """Counts one forward pass on one image through all heads that training uses, batch norms folded into convolutions.

    Args:
        model: any Module from (N, H, W, 3); it is moved to the device "shapes", and its values are lost.
        size: side of the image, or (height, width), pixels.
    """
    height, width = (size, size) if isinstance(size, int) else size
    parameters = model.to("shapes").parameters()
    image = Tensor(kernels.load("shapes").empty((1, height, width, 3), parameters[0].dtype))
    layers, field = run(model, image, channels=0)
    fields = [field.size] if field else [layer.receptive_field for layer in layers if layer.receptive_field]
    return Cost(sum(p.data.size for p in parameters), fields[-1], layers)
