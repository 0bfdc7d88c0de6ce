"""Splits and joins the rows of an array on any device.

Backends have no views of a part of an array, but they split and join channels: rows become the channels of one pixel.
"""


def split_rows(k, x, counts):
    """[(N_1, K), (N_2, K), ...] of x (sum N_i, K) on backend k; the counts are the N_i."""
    labels = x.shape[1]
    flat = k.reshape(x, (1, 1, 1, x.shape[0] * labels))
    blocks = k.split(flat, [count * labels for count in counts])
    return [k.reshape(block, (count, labels)) for block, count in zip(blocks, counts, strict=True)]


def concat_rows(k, blocks):
    """(sum N_i, K) of blocks (N_i, K) on backend k: the adjoint of `split_rows`, and its inverse."""
    flat = k.concat([k.reshape(block, (1, 1, 1, block.shape[0] * block.shape[1])) for block in blocks])
    return k.reshape(flat, (sum(block.shape[0] for block in blocks), blocks[0].shape[1]))
