"""Instructions that Numba has no word for: loads and stores of four numbers at once.

The simulator cannot run LLVM code; there they are what they mean.
"""

from .device import SIMULATED, device_function

if SIMULATED:

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
