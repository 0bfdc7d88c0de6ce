"""Trains the small networks that the notebooks share, each within five minutes on two cores: weights/NAME.npz.

    python train_networks.py              all of them
    python train_networks.py v3plus v1    two of them

They are kept in half precision: a quarter of the channels, and float16, make a megabyte or two of each.
"""

import argparse
import tempfile
from pathlib import Path

import minideeplab
from minideeplab.teach.networks import save_small
from minideeplab.weights import load_trained

HERE = Path(__file__).resolve().parent
COMMON = {"scale_range": (0.75, 1.25), "batch_size": 8, "width": 0.25, "seed": 0}
V3PLUS = {"model": "deeplabv3plus", "head_width": 64, "separable": True, "lr": 0.1, "epochs": 11}
NETWORKS = {  # what is compared was trained alike
    "v3plus": V3PLUS,
    "v3plus-without-decoder": V3PLUS | {"decoder": False},
    "v1": {"model": "deeplabv1-largefov", "lr": 0.05, "warmup": 100, "epochs": 8},
    "v2": {"model": "deeplabv2-aspp-s", "lr": 0.05, "warmup": 100, "epochs": 6},
    "drn-a": {"model": "drn-a-18", "lr": 0.1, "epochs": 7},
    "drn-c": {"model": "drn-c-26", "lr": 0.1, "epochs": 7},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NETWORKS)}; all if none is named")
    names = parser.parse_args().names
    if unknown := set(names) - set(NETWORKS):
        parser.error(f"no network {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS)}")
    for name in names or NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            options = COMMON | NETWORKS[name]
            run = minideeplab.fit("synthetic", out=Path(folder) / name, eval_every=options["epochs"], **options)
            print(f"{name}: mIoU {100 * minideeplab.evaluate(run.checkpoint, 'synthetic').mean_iou:.1f}")
            save_small(HERE / "weights" / f"{name}.npz", load_trained(run.checkpoint).model)


if __name__ == "__main__":
    main()
