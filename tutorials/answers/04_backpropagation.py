# %% exercise 1
# Column j of the matrix of `enlarge` has two ones. Turned around they lie in one row: what does that row do with a
# gradient?
def enlarge_adjoint(gradient):
    return gradient.reshape(-1, 2).sum(axis=1)  # each pixel was read twice, so two gradients meet


# %% exercise 2
# For x > 0 the function is x^2, for x < 0 it is -x^2. Write both slopes with one formula; then the chain rule
# multiplies by `grad`.
def square_with_sign_grad(x, grad):
    return 2 * np.abs(x) * grad
