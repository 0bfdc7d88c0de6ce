"""Instructions that Numba has no word for: loads and stores of four numbers at once, and at an address.

The simulator cannot run LLVM code; there they are what they mean.
"""

from .device import SIMULATED, device_function

if SIMULATED:
    import ctypes

    import numpy as np

    def _number_at(address, i, dtype):
        kind = ctypes.c_float if dtype == np.float32 else ctypes.c_double
        return kind.from_address(int(address) + int(i) * ctypes.sizeof(kind))

    @device_function
    def load_at(address, i, like):
        """The i-th number from an address on, of the type of `like`."""
        dtype = np.asarray(like).dtype
        return dtype.type(_number_at(address, i, dtype).value)

    @device_function
    def store_at(address, i, value):
        """Write the i-th number from an address on."""
        _number_at(address, i, np.asarray(value).dtype).value = value

    @device_function
    def load4(array, i):
        """(array[i], ..., array[i + 3]) for i a multiple of 4, in a flat float32 array."""
        assert i % 4 == 0
        return array[i], array[i + 1], array[i + 2], array[i + 3]

    @device_function
    def store4(array, i, v0, v1, v2, v3):
        """array[i], ..., array[i + 3] = v0, ..., v3 for i a multiple of 4, in a flat float32 array."""
        assert i % 4 == 0
        array[i], array[i + 1], array[i + 2], array[i + 3] = v0, v1, v2, v3

else:
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.cuda.extending import intrinsic

    _VECTOR = ir.VectorType(ir.FloatType(), 4)

    def _pointer(context, builder, array_type, array, index):
        data = context.make_array(array_type)(context, builder, array).data
        return builder.bitcast(builder.gep(data, [index]), _VECTOR.as_pointer())

    @intrinsic
    def load4(typingctx, array, i):
        """(array[i], ..., array[i + 3]) for i a multiple of 4, in a flat float32 array."""

        def codegen(context, builder, signature, args):
            vector = builder.load(_pointer(context, builder, signature.args[0], *args), align=16)
            parts = [builder.extract_element(vector, ir.Constant(ir.IntType(32), lane)) for lane in range(4)]
            return cgutils.pack_array(builder, parts)

        return types.UniTuple(types.float32, 4)(array, types.int64), codegen

    @intrinsic
    def store4(typingctx, array, i, v0, v1, v2, v3):
        """array[i], ..., array[i + 3] = v0, ..., v3 for i a multiple of 4, in a flat float32 array."""

        def codegen(context, builder, signature, args):
            vector = ir.Constant(_VECTOR, ir.Undefined)
            for lane, value in enumerate(args[2:]):
                vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), lane))
            builder.store(vector, _pointer(context, builder, signature.args[0], *args[:2]), align=16)
            return context.get_dummy_value()

        return types.void(array, types.int64, *[types.float32] * 4), codegen

    def _at(context, builder, number, address, index):
        pointer = builder.inttoptr(address, context.get_value_type(number).as_pointer())
        return builder.gep(pointer, [index])

    @intrinsic
    def load_at(typingctx, address, i, like):
        """The i-th number from an address on, of the type of `like`."""

        def codegen(context, builder, signature, args):
            return builder.load(_at(context, builder, like, *args[:2]))

        return like(types.int64, types.int64, like), codegen

    @intrinsic
    def store_at(typingctx, address, i, value):
        """Write the i-th number from an address on."""

        def codegen(context, builder, signature, args):
            builder.store(args[2], _at(context, builder, value, *args[:2]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, value), codegen
