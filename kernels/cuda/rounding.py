"""bfloat16, which kernels for a GPU do not take yet: whoever asks for it hears so."""

from .arrays import refuse_bfloat16


def to_bfloat16(x):
    """Refused: TypeError."""
    refuse_bfloat16()


def to_float32(x):
    """Refused: TypeError. There is no bfloat16 array on this device."""
    refuse_bfloat16()
