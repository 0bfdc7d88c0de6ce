"""Frozen batch norm: an affine map in training, whose gradients are those of the map."""

import numpy as np
import pytest

from minideeplab import Tensor, gradcheck, nn, no_grad
from minideeplab.nn import SGD, freeze_batch_norm


def unit(affine=False):
    """A convolution with batch norm that has seen other images; frozen."""
    module = nn.ConvNorm(2, 3, 3).initialise(0).astype(np.float64)
    rng = np.random.default_rng(1)
    module.norm.running_mean.data[:], module.norm.running_var.data[:] = rng.standard_normal(3), rng.uniform(0.5, 2, 3)
    module.norm.gamma.data[:] = rng.uniform(0.5, 2, 3)
    freeze_batch_norm(module, affine)
    return module.train()


def images(seed=0):
    return np.random.default_rng(seed).standard_normal((2, 4, 5, 2))


def test_training_computes_what_evaluation_does_and_leaves_the_statistics():
    module = unit()
    before = module.state_dict()
    trained = module(Tensor(images())).numpy()
    with module.evaluating(), no_grad():
        np.testing.assert_allclose(trained, module(Tensor(images())).numpy(), rtol=1e-12, atol=1e-12)
    for name, array in module.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_images_of_a_batch_do_not_see_each_other():
    module, x = unit(), images()
    np.testing.assert_array_equal(module(Tensor(x)).numpy()[:1], module(Tensor(x[:1])).numpy())


def test_gradients_by_differences():
    module = unit()
    first = [np.array(p.data) for p in (module.conv.weight, module.norm.gamma, module.norm.beta)]

    def frozen_unit(x, weight, gamma, beta):
        module.conv.weight, module.norm.gamma, module.norm.beta = weight, gamma, beta
        return module(x)

    gradcheck(frozen_unit, images(), *first)


def test_the_affine_part_is_trained_unless_it_is_frozen_too():
    for affine in (False, True):
        module = unit(affine)
        gamma, weight = module.norm.gamma.data.copy(), module.conv.weight.data.copy()
        module(Tensor(images())).sum().backward()
        SGD(module, 0.1).step()
        assert (module.norm.gamma.data == gamma).all() == affine
        assert (module.conv.weight.data != weight).any()


@pytest.mark.parametrize("recompute", [False, True])
def test_batch_norms_at_any_depth_are_frozen(recompute):
    module = nn.Sequential(nn.Sequential(nn.SeparableConv2d(2, 3))).initialise(0)
    freeze_batch_norm(module)
    if recompute:
        module.checkpoint_activations()
    before = module.state_dict()
    module(Tensor(images().astype(np.float32), requires_grad=True)).sum().backward()
    for name, array in module.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
