"""What a network costs: formulas, receptive fields, and counts of the network as it runs."""

from minideeplab.cost.count import Cost, cost_of
from minideeplab.cost.field import Field
from minideeplab.cost.footprint import footprint
from minideeplab.cost.formulas import (
    conv_macs,
    conv_parameters,
    effective_kernel,
    receptive_field,
    separable_macs,
    separable_parameters,
    space_to_batch_macs,
)
from minideeplab.cost.trace import TracedLayer, trace

__all__ = [
    "Cost",
    "Field",
    "TracedLayer",
    "conv_macs",
    "conv_parameters",
    "cost_of",
    "effective_kernel",
    "footprint",
    "receptive_field",
    "separable_macs",
    "separable_parameters",
    "space_to_batch_macs",
    "trace",
]
