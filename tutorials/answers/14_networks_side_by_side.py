# %% exercise 1
# Make a flat array of zeros, height times width long, write all values at once at their indices, then reshape it.
def unpool(values, indices, height, width):
    flat = np.zeros(height * width, values.dtype)
    flat[indices.ravel()] = values.ravel()
    return flat.reshape(height, width)


# %% exercise 2
# The last layer of a block has no later layer: only the transition reads it. The one before has one reader more.
def readers(i, layers):
    return layers - i
