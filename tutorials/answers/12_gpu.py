# %% exercise 1
# All threads of the grid together take a run of neighbouring elements; then they all move on by as many as they are.


def first_and_step(block, thread, blocks, threads):
    first = block * threads + thread
    step = blocks * threads
    return first, step


# %% exercise 2
# The upper left 8 x 4 elements hold lanes 0 to 31, row by row.
# The other three quarters repeat them, in other registers.


def lane_of_a(row, column):
    return 4 * (row % 8) + column % 4
