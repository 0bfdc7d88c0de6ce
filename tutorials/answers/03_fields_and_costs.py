# %% exercise 1
# The sum of the rates must be 13. Think of numbers whose digits are -1, 0 and 1: how much does each place count?
rates = (1, 3, 9)


# %% exercise 2
# Round the side up to the next multiple of the rate. Both sides of the map are rounded.
def padding_factor(side, rate):
    padded = -(-side // rate) * rate
    return (padded / side) ** 2
