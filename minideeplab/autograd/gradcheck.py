"""Is the derivative right? Three checks, from small to large, all in float64.

    gradcheck        every entry of the Jacobian by central differences: single ops
    check_adjoint    <A x, y> = <x, A^T y>: linear ops, exact to round-off, no step size
    check_direction  one random direction through all parameters at once: whole models, two forward passes

Central differences (f(x + h) - f(x - h)) / 2h err by O(h^2) and by round-off / h; h = 1e-6 leaves about nine digits
in float64, four in float32. Keep inputs of ReLU and max pooling further than h from ties.
"""

import numpy as np

import kernels
from minideeplab.autograd.function import no_grad
from minideeplab.autograd.precision import precision_in_use
from minideeplab.autograd.tensor import Tensor


class GradientError(AssertionError):
    """A derivative that does not match; says which op, which argument, which element."""


def _name(function):
    return getattr(function, "__name__", type(function).__name__)


def _float64(name, arrays):
    if precision_in_use() != "float32":
        raise RuntimeError(f"{name}: derivatives are checked in float64; call it outside of precision('bf16')")
    for position, a in enumerate(arrays):
        if not isinstance(a, np.ndarray) or a.dtype != np.float64:
            kind = a.dtype if isinstance(a, np.ndarray) else type(a).__name__
            raise TypeError(
                f"{name}: argument {position} must be a float64 array, got {kind}; differences need the digits"
            )


def _on_host(array):
    return kernels.to_device(array, "cpu")


def gradients(function, arrays, weight, device="cpu"):
    """Gradients of <function(arrays), weight> by backward on a device, as NumPy arrays; zeros where there is none."""
    tensors = [Tensor(kernels.to_device(a, device), requires_grad=True) for a in arrays]
    function(*tensors).backward(kernels.to_device(weight, device))
    return [np.zeros_like(a) if t.grad is None else _on_host(t.grad) for a, t in zip(arrays, tensors, strict=True)]


def _value(function, arrays):
    with no_grad():
        return function(*(Tensor(a) for a in arrays)).numpy()


def gradcheck(function, *arrays, names=None, step=1e-6, rtol=1e-6, atol=1e-7):
    """Compare backward with central differences, element by element.

        |backward - difference| <= atol + rtol |difference|    for every output and every input element

    Args:
        function: takes one Tensor for each array and returns a Tensor; must be deterministic.
        arrays: float64 inputs, some hundred numbers in all.
        names: what to call the arguments in errors.
        step: h; a linear function may use 1.

    Raises:
        GradientError: the op, the argument, the worst element with both values.
        TypeError: an input that is not float64. RuntimeError: within `precision("bf16")`.

    Cost:
        Two forward passes for each input number, one backward for each output number.
    """
    op = _name(function)
    _float64(f"gradcheck of {op}", arrays)
    names = names or [f"argument {i}" for i in range(len(arrays))]
    output = _value(function, arrays)
    backward = [np.empty((output.size, a.size)) for a in arrays]
    for i in range(output.size):
        weight = np.zeros_like(output)
        weight.reshape(-1)[i] = 1
        for jacobian, g in zip(backward, gradients(function, arrays, weight), strict=True):
            jacobian[i] = g.reshape(-1)
    worst = (0.0, "")
    for position, (name, a, jacobian) in enumerate(zip(names, arrays, backward, strict=True)):
        work = list(arrays)
        work[position] = a.copy()
        flat = work[position].reshape(-1)
        for j in range(a.size):
            centre = flat[j]
            flat[j] = centre + step
            up = _value(function, work).copy()
            flat[j] = centre - step
            down = _value(function, work)
            flat[j] = centre
            difference = ((up - down) / (2 * step)).reshape(-1)
            excess = np.abs(jacobian[:, j] - difference) - (atol + rtol * np.abs(difference))
            excess = np.where(np.isnan(excess), np.inf, excess)
            i = int(excess.argmax())
            if excess[i] > worst[0]:
                out, at = np.unravel_index(i, output.shape), np.unravel_index(j, a.shape)
                worst = (
                    excess[i],
                    (
                        f"{op}: d output{_index(out)} / d {name}{_index(at)} is {jacobian[i, j]:.9g} by backward"
                        f" but {difference[i]:.9g} by central differences (step {step:g})"
                    ),
                )
    if worst[0] > 0:
        raise GradientError(worst[1])


def _index(position):
    return str([int(i) for i in position])


def check_adjoint(function, *arrays, argument=0, seed=0, rtol=1e-12):
    """For a function that is linear in one argument: <f(x), y> = <x, grad of f towards y>, for a random y.

    Args:
        argument: the position of the linear argument; the others are held.

    Raises:
        GradientError: with both sides.
    """
    op = _name(function)
    _float64(f"check_adjoint of {op}", arrays)
    output = _value(function, arrays)
    y = np.random.default_rng(seed).standard_normal(output.shape)
    grad = gradients(function, arrays, y)[argument]
    left, right = float(np.vdot(output, y)), float(np.vdot(arrays[argument], grad))
    size = float(np.abs(output * y).sum()) + float(np.abs(arrays[argument] * grad).sum())
    if not abs(left - right) <= rtol * max(size, 1e-300):
        raise GradientError(f"{op}: <f(x), y> = {left:.15g} but <x, f^T(y)> = {right:.15g} in argument {argument}")


def check_direction(loss, module, seed=0, step=1e-6, rtol=1e-5, atol=1e-8):
    """Directional derivative of a scalar loss along one random direction in the space of all parameters.

        (loss(p + h d) - loss(p - h d)) / 2h  =  <grad, d>

    If the two disagree, each parameter is tried alone and the worst is named.

    Args:
        loss: function without arguments that runs the module and returns a scalar Tensor; the same value each time it
            is called (reseed dropout inside, keep batch norm's running statistics out of it).
        module: a float64 Module.

    Raises:
        GradientError: the parameter that is worst. TypeError: parameters that are not float64.
    """
    parameters = dict(module.named_parameters())
    values_of = {name: _on_host(p.data) for name, p in parameters.items()}
    _float64("check_direction", values_of.values())
    generator = np.random.default_rng(seed)
    directions = {name: generator.standard_normal(p.shape) for name, p in parameters.items()}
    length = np.sqrt(sum(float(np.vdot(d, d)) for d in directions.values()))
    directions = {name: d / length for name, d in directions.items()}  # a unit step, so that few ReLUs change side
    for p in parameters.values():
        p.grad = None
    loss().backward()
    slopes = {
        n: 0.0 if p.grad is None else float(np.vdot(_on_host(p.grad), directions[n])) for n, p in parameters.items()
    }

    def difference(names):
        values = []
        for sign in (1, -1):
            held = {n: parameters[n].data for n in names}
            for n in names:
                parameters[n].data = kernels.to_device(values_of[n] + sign * step * directions[n], parameters[n].device)
            with no_grad():
                values.append(loss().item())
            for n in names:
                parameters[n].data = held[n]
        return (values[0] - values[1]) / (2 * step)

    def wrong(slope, expected):
        return not abs(slope - expected) <= atol + rtol * abs(expected)

    if wrong(sum(slopes.values()), total := difference(list(parameters))):
        by_name = {n: difference([n]) for n in parameters}
        worst = max(by_name, key=lambda n: abs(slopes[n] - by_name[n]) / (abs(by_name[n]) + atol / rtol))
        raise GradientError(
            f"{_name(type(module))}: along a direction through all parameters the slope is {sum(slopes.values()):.9g}"
            f" by backward but {total:.9g} by central differences; the worst parameter is {worst}"
            f" {parameters[worst].shape}: {slopes[worst]:.9g} against {by_name[worst]:.9g}"
        )
