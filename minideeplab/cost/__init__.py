"""What a network costs: formulas, receptive fields, and counts of the network as it runs."""

from minideeplab.cost.count import Cost, cost_of, time_layers
from minideeplab.cost.field import Field
from minideeplab.cost.formulas import (
    conv_macs,
    conv_parameters,
    effective_kernel,
    receptive_field,
    separable_macs,
    separable_parameters,
    space_to_batch_macs,
)

__all__ = [
    "Cost",
    "Field",
    "conv_macs",
    "conv_parameters",
    "cost_of",
    "effective_kernel",
    "receptive_field",
    "separable_macs",
    "separable_parameters",
    "space_to_batch_macs",
    "time_layers",
]
