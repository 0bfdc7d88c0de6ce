# %% exercise 1
# Count the boxes in the picture of the tile: blue ones are sums, yellow ones weights.
# The orange numbers come one at a time.


def registers(rows, vectors):
    return rows * vectors + vectors + 1


def per_load(rows, vectors):
    return rows * vectors / (rows + vectors)


# %% exercise 2
# One pixel to the right is `channels` numbers further, one row down is `pitch` pixels further.
# The rate multiplies both steps.


def offset(kh, kw, rate, pitch, channels):
    return rate * (kh * pitch + kw) * channels
