"""What does not fit into memory is refused before it is made."""

from types import SimpleNamespace

import pytest

from minideeplab import models
from minideeplab.cost import cost_of
from minideeplab.errors import UsageError
from minideeplab.train.room import network_within, require_room

OPTIONS = {"num_classes": 3, "width": 1 / 64}


def arguments(**changes):
    usual = {"device": "cpu", "crop_size": 65, "batch_size": 4, "accumulate": 1, "checkpoint_activations": False}
    return SimpleNamespace(**usual | changes)


def test_a_network_takes_what_there_is():
    with network_within(10**7):
        models.create("unet", **OPTIONS)
    with network_within(None):
        models.create("unet", **OPTIONS)
    with pytest.raises(UsageError, match="the network takes more than the 0 GB of this machine; give a"):
        with network_within(10**7):
            models.create("unet", num_classes=3, width=1)


def test_a_batch_takes_what_counting_says():
    model = models.build("unet", **OPTIONS)
    need = cost_of(models.create("unet", **OPTIONS), (65, 65)).activation_bytes + 3 * 65 * 65 * 4
    require_room(model, arguments(), 4 * need)
    require_room(model, arguments(accumulate=2), 2 * need)
    require_room(model, arguments(device="cuda"), 1)
    require_room(model, arguments(), None)
    with pytest.raises(UsageError, match=r"--crop-size 65 and --batch-size 4 need at least .* GB, and this machine"):
        require_room(model, arguments(), 4 * need - 1)
    assert model.device == "cpu"
