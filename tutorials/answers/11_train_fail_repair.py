# %% exercise 1
# np.arange(height) gives all i at once. An index must be whole: use astype(int), or floor division.
def resize_labels(labels, height, width):
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(int)
    return labels[rows][:, columns]


# %% exercise 2
# A position at one end of the map reads, with its outer tap, `rate` positions further. How far is the other end?
def largest_rate(crop, output_stride):
    return (crop - 1) // output_stride
