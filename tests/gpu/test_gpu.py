"""On a GPU: every kernel at real sizes against the CPU, from memory full of NaN, and a training step of v3+.

python -m pytest tests/gpu
"""

import kernel_calls
import numpy as np
import pytest
from hosted import Hosted
from strategies import SIMULATED, assert_close, normal

import kernels
from kernels.geometry import Window
from minideeplab import Tensor, models
from minideeplab.bench.conv import LAYERS
from minideeplab.bench.crf import infer
from minideeplab.crf import bilateral_features
from minideeplab.data.photograph import photograph
from minideeplab.nn.optim import SGD


def _why_not():
    if SIMULATED:
        return "the simulator is no GPU"
    try:
        kernels.load("cuda")
    except (ImportError, RuntimeError) as error:
        return str(error)
    return ""


WHY_NOT = _why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "a GPU is here")
CRF_NAMES = [name for names in kernels.CRF_CONTRACT.values() for name in names]
NAMES = [
    name for file, names in kernels.CONTRACT.items() if file not in ("arrays", "rounding") for name in names
] + CRF_NAMES


@pytest.fixture(scope="module")
def gpu():
    return Hosted(kernels.load("cuda"))


def poison():
    """Fill all idle buffers of the pool: an element that no thread writes would be NaN."""
    from kernels.cuda import arrays

    for buffers in arrays._free.values():
        for buffer in buffers:
            bits = np.full(buffer.nbytes, 0xFF, np.uint8)  # NaN as a float, -1 as an integer
            buffer.copy_to_device(bits.view(buffer.dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_every_kernel_is_that_of_the_cpu(gpu, name, dtype):
    call = kernel_calls.calls(gpu, dtype)[name]
    call()
    poison()
    # which simplex a pixel lies in follows from the bits of its features
    wide = dtype if name in CRF_NAMES else np.float64
    expected = kernel_calls.calls(kernels.load("reference"), wide)[name]()
    for a, e in zip(call(), expected, strict=True):
        a, e = np.asarray(a), np.asarray(e, np.float64)
        a = a.astype(dtype) if a.dtype.kind == "f" else a.astype(np.float64)
        assert_close(a, e, magnitude=1 + np.abs(e).max(), terms=np.prod(kernel_calls.SHAPE[:3]))


MANY_BLOCKS = ("conv", 4, 129, 256, 256, 3, 1, 2)  # enough for the largest tile in all three directions


@pytest.fixture(params=["float32", "tf32"])
def precision(request):
    """Sets it for the test; skips it where the GPU cannot."""
    k = kernels.load("cuda")
    try:
        k.set_precision(request.param)
    except RuntimeError as error:
        pytest.skip(str(error))
    yield request.param
    k.set_precision("float32")


def layer_arrays(layer, numbers):
    """(name of the op, its window, {direction: arrays})."""
    kind, n, size, c, k, kernel, stride, rate = layer
    op, make = ("conv2d", Window.conv) if kind == "conv" else ("depthwise_conv2d", Window.depthwise)
    shape = (kernel, kernel, c, k) if kind == "conv" else (kernel, kernel, c)
    win = make((n, size, size, c), shape, stride, rate, "same")
    x, w, grad = numbers(win.x_shape, win.w_shape, win.y_shape)
    return op, win, {"": (x, w), "_grad_input": (grad, w), "_grad_weight": (x, grad)}


@pytest.mark.parametrize("layer", (*LAYERS, MANY_BLOCKS), ids=str)
def test_the_layers_of_the_bench(gpu, layer, precision):
    """Real sizes, fresh numbers in every run, against the CPU's float32 kernels."""
    entropy, tolerance = np.random.SeedSequence().entropy, {"float32": 1e-5, "tf32": 1e-3}[precision]
    op, win, directions = layer_arrays(layer, lambda *shapes: normal(entropy, *shapes, dtype=np.float32))
    for name, arrays in directions.items():
        expected = getattr(kernels.load("cpu"), op + name)(*arrays, win)
        error = getattr(gpu, op + name)(*arrays, win) - expected
        assert np.linalg.norm(error) <= tolerance * np.linalg.norm(expected), name


@pytest.mark.parametrize("layer", [("conv", 1, 33, 96, 72, 3, 1, 2), ("conv", 1, 65, 256, 256, 1, 1, 1), MANY_BLOCKS])
def test_small_integers_are_multiplied_exactly(gpu, layer, precision):
    """They fit 10 bits and their sums 24, so that every lane's part of the instruction shows."""
    rng = np.random.default_rng()
    op, win, directions = layer_arrays(
        layer, lambda *shapes: [rng.integers(-2, 3, shape).astype(np.float32) for shape in shapes]
    )
    for name, arrays in directions.items():
        expected = getattr(kernels.load("cpu"), op + name)(*arrays, win)
        np.testing.assert_array_equal(getattr(gpu, op + name)(*arrays, win), expected, err_msg=name)


def test_the_same_bits_in_every_run(gpu):
    calls = kernel_calls.calls(gpu)
    for name, call in calls.items():
        for a, b in zip(call(), call(), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("backbone", ["resnet18", "xception41", "mobilenet_v2"])
def test_a_training_step_of_v3plus(backbone):
    """Loss, gradients and updated parameters in float64 are those of the CPU."""
    rng, states = np.random.default_rng(0), []
    x, labels = rng.standard_normal((2, 129, 129, 3)), rng.integers(0, 21, (2, 129, 129)).astype(np.uint8)
    labels[0, :9] = 255
    for device in ("cpu", "cuda"):
        model = (
            models.build("deeplabv3plus", backbone=backbone, width=0.25, head_width=64).astype(np.float64).to(device)
        )
        optimiser = SGD(model, 0.1)
        loss = model.reseed(0).loss(Tensor(x).to(device), labels)
        loss.backward()
        gradients = {name: kernels.to_device(p.grad, "cpu") for name, p in model.named_parameters()}
        optimiser.step()
        states.append((loss.item(), gradients, model.state_dict()))
    (loss, *arrays), (cpu_loss, *cpu_arrays) = states[1], states[0]
    assert loss == pytest.approx(cpu_loss, rel=1e-10)
    for mine, others in zip(arrays, cpu_arrays, strict=True):
        for name, other in others.items():
            np.testing.assert_allclose(mine[name], other, rtol=1e-6, atol=1e-8 * abs(other).max(), err_msg=name)


def test_uploads_do_not_overtake_kernels():
    """Batches go up while kernels still read the ones before, from memory that the pool has handed out again."""
    k, rng = kernels.load("cuda"), np.random.default_rng(0)
    batches, results = [rng.standard_normal((4, 257, 257, 3), np.float32) for _ in range(12)], []
    for batch in batches:
        x = k.from_numpy(batch)
        for _ in range(20):
            x = k.add(x, x)
        results.append(x)
        batch *= 2  # the program goes on with its own copy
    for batch, result in zip(batches, results, strict=True):
        np.testing.assert_array_equal(k.to_numpy(result), batch / 2 * 2.0**20)


def test_more_than_2_to_31_elements():
    k = kernels.load("cuda")
    try:
        x = k.full((2, 20_000, 20_000, 3), 1.5)  # 9.6 GB
        y = k.activate(x, "relu")
        w = k.from_numpy(np.float32([[[[2.0], [1.0], [-1.0]]]]))
        z = k.conv2d(x, w, Window.conv(x.shape, w.shape))
    except MemoryError as error:
        pytest.skip(str(error))
    corner = [k.to_numpy(k.crop(a, 19_990, 19_990, 10, 10)) for a in (y, z)]
    assert (corner[0] == 1.5).all() and (corner[1] == 3.0).all()


def test_steady_training_allocates_nothing():
    from kernels.cuda import arrays

    model = models.build("deeplabv3plus", backbone="resnet18", width=0.25, head_width=64).to("cuda")
    x, labels = Tensor(np.ones((2, 65, 65, 3), np.float32)).to("cuda"), np.zeros((2, 65, 65), np.uint8)
    optimiser, count, allocate = SGD(model, 0.01), [], arrays._allocate
    try:
        arrays._allocate = lambda *key: count.append(key) or allocate(*key)
        for _ in range(4):
            optimiser.zero_grad()
            model.reseed(0).loss(x, labels).backward()
            optimiser.step()
            count.append(None)
    finally:
        arrays._allocate = allocate
    assert count[-1] is None and count[-2] is None  # the last step ends where the one before ended


@pytest.mark.parametrize("image", ["photograph", "one colour"])
def test_a_dense_crf_is_that_of_the_cpu_and_the_same_in_every_run(image):
    """Lattices are equal to the last vertex, of one colour with vertices around which lie all pixels of a region."""
    pixels = photograph(375, 500) if image == "photograph" else np.full((375, 500, 3), 90, np.uint8)
    unary = normal(3, (375 * 500, 21), dtype=np.float32)
    here, *there = (infer(pixels, unary, 80, 13, device) for device in ("cpu", "cuda", "cuda"))
    np.testing.assert_array_equal(there[0], there[1])
    np.testing.assert_allclose(there[0], here, rtol=0, atol=1e-4)
    features = bilateral_features(pixels, 80, 13)
    here, there = (kernels.load(d).build_lattice(kernels.to_device(features, d)) for d in ("cpu", "cuda"))
    for name in ("vertex", "starts", "pixel"):
        np.testing.assert_array_equal(kernels.to_device(getattr(there, name), "cpu"), getattr(here, name))
