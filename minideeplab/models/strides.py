"""A trained network at another output stride: the same weights on finer or coarser maps, with other rates."""

from minideeplab.models.backbones.resnet import RESNETS, default_multi_grid
from minideeplab.models.registry import NAMES, create, options_of


def at_output_stride(model, output_stride):
    """The network with its weights at another output stride.

    Where a stage gives up its stride, the convolutions after it take that stride as their rate; ASPP's rates double
    from 16 to 8. No parameter has another shape. Trained at 16, evaluated at 8, as in DeepLab v3 and v3+.

    Args:
        model: by `models.build`, or loaded; output_stride: 8, 16 or 32, more with deeplabv3-cascade.

    Returns:
        A new Module in evaluation mode with the arrays of `model`, or `model` itself if it has that output stride.

    Raises:
        ValueError: the network has no such option, or its rates are not whole at that stride.

    Source: DeepLab v3 (arXiv 1706.05587), section 4.1, "inference strategy on val set".
    """
    name = model.config["name"]
    if "output_stride" not in options_of(name):
        if output_stride == model.output_stride:
            return model
        have = [each for each in NAMES if "output_stride" in options_of(each) and "backbone" in options_of(each)]
        raise ValueError(
            f"{name} is built for output stride {model.output_stride} alone; another one can be chosen for "
            f"{', '.join(have)}"
        )
    before, backbone = model.output_stride, model.config.get("backbone", name)
    if output_stride == before:
        return model
    config = model.config | {"output_stride": output_stride}
    if "multi_grid" in config and config["multi_grid"] is None and backbone in RESNETS:
        config["multi_grid"] = list(default_multi_grid(backbone, before))  # the default depends on the stride
    other = create(name, **{option: value for option, value in config.items() if option not in ("name", "seed")})
    other.config = config
    other.load_state_dict(model.state_dict())
    other.reseed(config["seed"])
    return other.eval()
