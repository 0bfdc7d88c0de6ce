# %% exercise 1
# Bin i starts at floor(i a / n). It ends at ceil((i + 1) a / n); without floating point, ceil(p / q) is -(-p // q).
def my_bins(a, n):
    return [(i * a // n, -(-(i + 1) * a // n)) for i in range(n)]


# %% exercise 2
# Two taps that are rate positions apart on the map lie rate times output stride pixels apart in the image.
def rates(output_stride):
    return [distance // output_stride for distance in (48, 96, 144, 192)]
