"""TF32 convolutions of kernels.cuda, in the simulator: the lanes' parts of the instruction, and the error."""

import numpy as np
import pytest
from strategies import SIMULATED, backend, normal

import kernels
from kernels.cuda import tile
from kernels.geometry import Window

pytestmark = pytest.mark.skipif(not SIMULATED, reason="runs in the CUDA simulator: NUMBA_ENABLE_CUDASIM=1")
CALLS = (("conv2d", "x w"), ("conv2d_grad_input", "g w"), ("conv2d_grad_weight", "x g"))
WINDOWS = {
    "one tile": Window.conv((1, 3, 3, 4), (1, 1, 4, 4)),
    "remainders": Window.conv((1, 5, 4, 5), (3, 3, 5, 3), rate=2, padding="same"),
    "several tiles": Window.conv((1, 9, 17, 3), (1, 2, 3, 33), stride=(1, 2), padding="same"),
}


@pytest.fixture
def k():
    cuda = kernels.load("cuda")
    cuda.set_precision("tf32")
    yield backend("cuda")
    cuda.set_precision("float32")


def arrays_of(win, numbers):
    x, w, g = (numbers(seed, shape) for seed, shape in enumerate((win.x_shape, win.w_shape, win.y_shape)))
    return {"x": x, "w": w, "g": g}


@pytest.mark.parametrize("name, which", CALLS)
@pytest.mark.parametrize("window", WINDOWS)
def test_small_integers_are_multiplied_exactly(k, window, name, which):
    """All of them fit 10 bits, so the result is that of the definition to the bit."""
    win = WINDOWS[window]
    arrays = arrays_of(win, lambda seed, shape: np.round(4 * normal(seed, shape)).astype(np.float32))
    chosen = [arrays[a] for a in which.split()]
    expected = getattr(kernels.load("reference"), name)(*chosen, win)
    np.testing.assert_array_equal(getattr(k, name)(*chosen, win), expected)


@pytest.mark.parametrize("name, which", CALLS)
def test_the_error_is_that_of_ten_bits(k, name, which):
    """An operand is off by 2^-11 of itself at most: the sum by 2^-10 of the sum of magnitudes, and not by far less."""
    win = WINDOWS["remainders"]
    arrays = arrays_of(win, lambda seed, shape: normal(seed, shape, dtype=np.float32))
    chosen = [arrays[a] for a in which.split()]
    reference = getattr(kernels.load("reference"), name)
    error = abs(getattr(k, name)(*chosen, win) - reference(*(a.astype(np.float64) for a in chosen), win))
    bound = reference(*(abs(a).astype(np.float64) for a in chosen), win) * 2.0**-10
    assert (error <= bound * 1.01 + 1e-12).all()
    assert error.max() > 1e-5 * abs(bound).max()  # it is TF32 that was tested


def test_the_warps_of_a_block_have_their_places(k, monkeypatch):
    """Two by two warps, as on a GPU two by four."""
    for name in ("TENSOR", "SMALL_TENSOR"):
        monkeypatch.setattr(tile, name, tile.Tile(128, 64, 8, 8, 8, True))
    win = Window.conv((1, 10, 13, 8), (1, 1, 8, 40))
    x, w = (
        np.round(4 * normal(seed, shape)).astype(np.float32) for seed, shape in enumerate((win.x_shape, win.w_shape))
    )
    np.testing.assert_array_equal(k.conv2d(x, w, win), kernels.load("reference").conv2d(x, w, win))


def test_float64_is_never_rounded(k):
    win = WINDOWS["remainders"]
    arrays = arrays_of(win, normal)
    expected = kernels.load("reference").conv2d(arrays["x"], arrays["w"], win)
    np.testing.assert_allclose(k.conv2d(arrays["x"], arrays["w"], win), expected, rtol=1e-12, atol=1e-12)


def test_an_unknown_precision():
    with pytest.raises(ValueError, match="precision must be float32 or tf32, got 'bf16'"):
        kernels.load("cuda").set_precision("bf16")


def test_a_gpu_without_it(monkeypatch):
    monkeypatch.setattr(tile, "has_tensor_cores", lambda: False)
    with pytest.raises(RuntimeError, match=r"tf32 needs a GPU of compute capability 8\.0 or later"):
        kernels.load("cuda").set_precision("tf32")
