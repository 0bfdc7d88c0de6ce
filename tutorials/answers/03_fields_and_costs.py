# %% exercise 1
# Behind a layer of stride 2, two neighbours lie two inputs apart; behind two such layers, four. Without the strides,
# a tap must jump as far to find the same ones.
rates = (1, 2, 4)


# %% exercise 2
# Round the side up to the next multiple of the rate. Both sides of the map are rounded.
def padding_factor(side, rate):
    padded = -(-side // rate) * rate
    return (padded / side) ** 2
