# %% exercise 1
# All nine are inside where the output lies at least `rate` positions away from every border. How many rows are that?
def share_of_nine(side, rate):
    return max(0, side - 2 * rate) ** 2 / side**2


# %% exercise 2
# As long as the wanted output stride is not reached, a block halves the map; from then on its rate doubles instead.
def after_block(reached, rate, wanted):
    return (2 * reached, rate) if reached < wanted else (reached, 2 * rate)
