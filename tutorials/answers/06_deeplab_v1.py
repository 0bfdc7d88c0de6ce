"""Answers to the exercises of notebook 06: read the comment first, it is the hint."""


# %% exercise 1
# A kernel k at rate r spans k + (k - 1)(r - 1) positions. The paper's numbers are those of three positions more.
def field_of_view(kernel, rate):
    return 8 * (kernel + (kernel - 1) * (rate - 1) + 3)


# %% exercise 2
# A convolution from C to N channels with K x K taps has N (C K^2 + 1) weights and biases. fc6 has K = 3, fc7 and fc8
# have K = 1; each begins with the channels that the one before gives.
my_count = 512 * (512 * 9 + 1) + 512 * (512 + 1) + 21 * (512 + 1)
