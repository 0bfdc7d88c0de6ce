"""How close the lattice comes to the Gaussian: `python -m minideeplab.crf.accuracy` prints the table of README.md.

Mass is the mean of G 1 on the lattice over that of the exact matrix: the share that the lattice keeps. The error is
that of filters normalised `after`, on values drawn for each pixel and on a smooth picture: the root mean square of the
difference, over the standard deviation of the exact result.
"""

import sys

import numpy as np

from minideeplab import cli
from minideeplab.crf.filters import ExactFilter, LatticeFilter, bilateral_features, position_features
from minideeplab.data.photograph import photograph

SIDE = 60  # pixels: the exact matrix has 60^4 numbers


def cases():
    """name -> features (SIDE^2, d) and the image."""
    image = photograph(4 * SIDE, 4 * SIDE)[::2, ::2][:SIDE, :SIDE]
    grey = image.mean(axis=2)
    more = np.concatenate([image, np.stack(np.gradient(grey), axis=2) * 3, grey[..., None]], axis=2)
    line = np.arange(SIDE**2, dtype=np.float64)[:, None]
    table = {f"a line, sigma {sigma}": line / sigma for sigma in (1, 3, 10)}
    table |= {
        f"positions, sigma {sigma}": position_features(SIDE, SIDE, sigma, np.float64) for sigma in (1, 2, 3, 5, 10)
    }
    table |= {
        f"positions {sxy}, grey {srgb}": bilateral_features(grey, sxy, srgb, np.float64)
        for sxy, srgb in ((80, 13), (5, 60))
    }
    for sxy, srgb in ((80, 13), (50, 5), (20, 20), (10, 40), (5, 60)):
        table[f"positions {sxy}, colours {srgb}"] = bilateral_features(image, sxy, srgb, np.float64)
    for sxy, scale in ((80, 26), (10, 80)):
        table[f"positions {sxy}, six channels {scale}"] = bilateral_features(more, sxy, scale, np.float64)
    return table, image


def errors(features, values):
    """(mass, vertices, error on each column of the values)."""
    exact, lattice = ExactFilter(features, "after"), LatticeFilter(features, "after")
    wanted, found = exact.apply(values), lattice.apply(values)
    deviation = np.sqrt(((found - wanted) ** 2).mean(axis=0) / wanted.var(axis=0))
    return lattice.normaliser.mean() / exact.normaliser.mean(), lattice.lattice.n_vertices, deviation


@cli.main_guard
def main(argv=None):
    """Prints the table; returns the exit code."""
    cli.command_parser(
        "crf.accuracy", "Print how close the lattice comes to the Gaussian.", "  python -m minideeplab.crf.accuracy"
    ).parse_args(argv)
    table, image = cases()
    noise = np.random.default_rng(0).standard_normal(SIDE**2)
    values = np.stack([noise, image.mean(axis=2).reshape(-1)], axis=1)
    print("| features | d | vertices / pixels | mass | error on noise | on the image |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, features in table.items():
        mass, vertices, (on_noise, on_image) = errors(features, values)
        figures = f"{vertices / len(features):.2f} | {mass:.3f} | {on_noise:.3f} | {on_image:.3f}"
        print(f"| {name} | {features.shape[1]} | {figures} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
