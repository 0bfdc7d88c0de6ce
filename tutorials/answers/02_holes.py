# %% exercise 1
# Tap k reads x[k * rate] for the first output, and one input further for each output: a slice of `length` inputs.
def by_taps(x, w, rate):
    length = len(x) - rate * (len(w) - 1)
    y = np.zeros(length)
    for k in range(len(w)):
        y += x[k * rate : k * rate + length] * w[k]
    return y


# %% exercise 2
# The first layer sees 3 neighbours. The second may jump over just these 3, the third over all that the second sees.
my_rates = (1, 3, 9)
