"""Trainings of a few steps on any number of ranks: with one rank they are what the others are compared with."""

import numpy as np

import kernels
import minideeplab
from minideeplab import models
from minideeplab.distributed import Replica
from minideeplab.errors import DivergedError, MiniDeepLabError
from minideeplab.nn import SGD, freeze_batch_norm
from minideeplab.train import train_step

SIDE, CLASSES = 33, 3


class Case:
    """A training: a network, how a step is taken, and of how many images a batch is.

    Args:
        name: of the network; n: images of a batch; lr: the same in each step.
        model: options of the network; step: of `train_step`; freeze, again, synchronised: see `start`.
    """

    def __init__(
        self, name, n=6, lr=0.005, dtype=np.float64, mode="float32", model=None, step=None, freeze=False, again=False,
        synchronised=True,
    ):  # fmt: skip
        self.name, self.n, self.lr, self.dtype, self.mode = name, n, lr, dtype, mode
        self.model, self.step = {"width": 1 / 16} | (model or {}), step or {}
        self.freeze, self.again, self.synchronised = freeze, again, synchronised

    def start(self, group):
        """(replica, optimiser) with the first values of seed 0; other ranks build a network of other values."""
        network = models.build(self.name, num_classes=CLASSES, seed=group.rank, **self.model).astype(self.dtype)
        network.reseed(0)
        if self.freeze:
            freeze_batch_norm(network)
        if self.again:
            network.checkpoint_activations()
        return Replica(network, group, self.synchronised), SGD(network, self.lr)

    def batch(self, number, order=None):
        """(images, labels): squares, of which each is of the class of its strongest colour.

        Of the first two images all is void, of the third nearly all, of the last nothing: a rank may have void alone.
        """
        generator = np.random.default_rng(number)
        images = generator.standard_normal((self.n, 5, 5, 3)).astype(self.dtype).repeat(8, 1).repeat(8, 2)
        images = images[:, :SIDE, :SIDE]
        labels = images.argmax(-1).astype(np.uint8)
        labels[:2], labels[2, 2:] = 255, 255
        order = np.arange(self.n) if order is None else order
        return images[list(order)], labels[list(order)]

    def part(self, group, array):
        """Each part of a step is divided among the ranks."""
        parts = np.split(array, self.step.get("parts", 1))
        return np.concatenate([np.split(part, group.size)[group.rank] for part in parts])

    def train(self, group, steps, order=None):
        """{number of steps: (losses with their weights, weights and statistics, velocities)}.

        Args:
            steps: numbers of steps; order: of the images in each batch.
        """
        found, losses = {}, []
        with minideeplab.precision(self.mode):
            replica, optimiser = self.start(group)
            for number in range(max(steps)):
                images, labels = (self.part(group, array) for array in self.batch(number, order))
                loss = train_step(replica.model, optimiser, images, labels, replica=replica, **self.step)
                losses.append((loss.item(), loss.weight))
                if number + 1 in steps:
                    replica.require_equal()
                    found[number + 1] = list(losses), replica.model.state_dict(), velocities(optimiser)
        return found


def velocities(optimiser):
    return {name: np.array(array) for name, array in optimiser.state_dict().items()}


EXACT = {
    "v3+": Case("deeplabv3plus", model={"head_width": 8}, step={"class_weights": (0.5, 2.0, 1.0)}),
    "v3+ in two parts": Case(
        "deeplabv3plus", n=12, model={"head_width": 8, "separable": True}, step={"parts": 2, "hard_share": 0.5}
    ),
    "two heads": Case("pspnet", step={"class_weights": (0.5, 2.0, 1.0), "hard_share": 0.3}),
    "dropout": Case("deeplabv1-largefov", step={"parts": 2}, n=12),
    "three sizes, computed again": Case("deeplabv2-resnet101", lr=0.0002, model={"width": 1 / 32}, again=True),
    "frozen, computed again": Case("deeplabv3", model={"head_width": 8}, freeze=True, again=True),
}
PLAIN = {"head_width": 8, "dropout": 0.0}  # dropout would see another order of images as another batch
ROUNDED = {
    "float32": Case("deeplabv3plus", lr=0.01, dtype=np.float32, model=PLAIN),
    "bf16": Case("deeplabv3plus", lr=0.01, dtype=np.float32, mode="bf16", model=PLAIN),
}
FEW, MANY = (1, 3), (1, 3, 50)
OWN = Case("deeplabv3plus", dtype=np.float32, model={"head_width": 8}, synchronised=False)


def train_all(group):
    """All cases, on this rank; arrays of rank 0 alone, since `require_equal` compares them."""
    kernels.set_num_threads(1)  # arrays this small cost less than waking a second thread, which another rank may need
    found = {name: case.train(group, FEW) for name, case in EXACT.items()}
    found["float32"] = ROUNDED["float32"].train(group, MANY if group.size == 2 else FEW)
    if kernels.has_bfloat16():
        found["bf16"] = ROUNDED["bf16"].train(group, FEW)
    again = ROUNDED["float32"].train(group, FEW)
    found["again"] = all(same(again[number], found["float32"][number]) for number in FEW)
    found["own"] = OWN.train(group, FEW)
    found["fault"] = fault(group)
    found["flipped"] = flipped(group)
    return found


def same(one, other):
    """Whether two results of `train` have equal bits."""
    return one[0] == other[0] and all(
        (a.tobytes() == b.tobytes()) for i in (1, 2) for a, b in zip(one[i].values(), other[i].values(), strict=True)
    )


def fault(group):
    """(message, whether nothing has changed, loss of the next step) where the last rank has a NaN in an image."""
    case = OWN
    replica, optimiser = case.start(group)
    images, labels = (case.part(group, array) for array in case.batch(0))
    before = replica.model.state_dict()
    broken = images.copy()
    if group.rank == group.size - 1:
        broken[0, 1, 2, 0] = np.nan
    with np.errstate(invalid="ignore"):
        try:
            train_step(replica.model, optimiser, broken, labels, replica=replica)
            message = ""
        except DivergedError as error:
            message = str(error)
    unchanged = all((before[name] == array).all() for name, array in replica.model.state_dict().items())
    loss = train_step(replica.model, optimiser, images, labels, replica=replica)
    return message, unchanged, loss.item()


def flipped(group):
    """What `require_equal` says before and after one bit of one weight of the last rank has changed."""
    replica, _ = OWN.start(group)
    heard = []
    for bit in (0, 1):
        if group.rank == group.size - 1:
            replica.model.parameters()[-1].data.view(np.uint32)[0] ^= bit
        try:
            replica.require_equal()
            heard.append("")
        except MiniDeepLabError as error:
            heard.append(str(error))
    return heard
