"""Instructions that Numba has no word for: loads and stores of four numbers at once and at an address, tensor cores.

The sum and the maximum over a warp are here too; a row of threads in a block must then be the lanes of a warp.

The simulator cannot run LLVM code. It runs the Python functions that say what the instructions mean.
"""

from .device import SIMULATED, device_function

if SIMULATED:
    import collections
    import ctypes

    import numpy as np

    from .device import cuda

    _fragments = collections.defaultdict(dict)  # warp: {lane: operands}, while the threads of the warp meet in an `mma`

    def _meet(x):
        """x of every lane in the row of the block."""
        row = _fragments[cuda.threadIdx.y]
        row[cuda.threadIdx.x] = x
        cuda.syncthreads()
        values = [row[lane] for lane in range(cuda.blockDim.x)]
        cuda.syncthreads()
        return values

    @device_function
    def max_over_lanes(x):
        """The largest x of a warp, for all its lanes; all must ask."""
        return max(_meet(x))

    @device_function
    def sum_over_lanes(x):
        """The sum of x over a warp, the same bits for all its lanes; all must ask."""
        return sum(_meet(x))

    @device_function
    def product(a, b):
        """a b in float64, rounded before anything is added to it."""
        return a * b

    @device_function
    def round_to_tf32(x):
        """The nearest number with 10 bits of mantissa; ties away from zero."""
        bits = np.float32(x).view(np.uint32).astype(np.int64)
        return np.uint32((bits + 0x1000 & ~0x1FFF) & 0xFFFFFFFF).view(np.float32)

    @device_function
    def mma(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
        """C + A B of a warp, 16 x 8 = 16 x 8 + 16 x 8 @ 8 x 8; lane = 4 g + i.

        It holds a0 .. a3 = A[g, i], A[g + 8, i], A[g, i + 4], A[g + 8, i + 4], b0, b1 = B[i, g], B[i + 4, g], and
        c0 .. c3 = C[g, 2 i], C[g, 2 i + 1], C[g + 8, 2 i], C[g + 8, 2 i + 1].

        Source: PTX ISA, mma.sync.aligned.m16n8k8 with .tf32.
        """
        warp, lane = cuda.threadIdx.x // 32, cuda.threadIdx.x % 32
        _fragments[warp][lane] = a0, a1, a2, a3, b0, b1
        cuda.syncthreads()
        a, b = np.empty((16, 8), np.float32), np.empty((8, 8), np.float32)
        for other, values in _fragments[warp].items():
            g, i = other // 4, other % 4
            a[g, i], a[g + 8, i], a[g, i + 4], a[g + 8, i + 4], b[i, g], b[i + 4, g] = values
        cuda.syncthreads()
        g, i = lane // 4, lane % 4
        products = a[[g, g, g + 8, g + 8]] * b[:, [2 * i, 2 * i + 1] * 2].T
        return tuple(np.float32(c + p) for c, p in zip((c0, c1, c2, c3), products.sum(axis=1), strict=True))

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
    from numba.cuda import libdevice
    from numba.cuda.extending import intrinsic

    from .device import cuda

    _VECTOR = ir.VectorType(ir.FloatType(), 4)
    _WARP = 0xFFFFFFFF

    @device_function
    def max_over_lanes(x):
        """The largest x of a warp, for all its lanes; all must ask."""
        for step in (16, 8, 4, 2, 1):
            x = max(x, cuda.shfl_xor_sync(_WARP, x, step))
        return x

    @device_function
    def sum_over_lanes(x):
        """The sum of x over a warp, the same bits for all its lanes; all must ask."""
        for step in (16, 8, 4, 2, 1):  # both lanes of a pair add the same two numbers
            x += cuda.shfl_xor_sync(_WARP, x, step)
        return x

    @device_function
    def product(a, b):
        """a b in float64, rounded before anything is added to it."""
        return libdevice.dmul_rn(a, b)

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

    _INT, _FLOAT = ir.IntType(32), ir.FloatType()

    @intrinsic
    def round_to_tf32(typingctx, x):
        """The nearest number with 10 bits of mantissa; ties away from zero. Compute capability 8.0 and later."""

        def codegen(context, builder, signature, args):
            convert = ir.InlineAsm(ir.FunctionType(_INT, [_FLOAT]), "cvt.rna.tf32.f32 $0, $1;", "=r,f")
            return builder.bitcast(builder.call(convert, args), _FLOAT)

        return types.float32(types.float32), codegen

    @intrinsic
    def mma(typingctx, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
        """C + A B of a warp in TF32, sums in float32; the lanes' parts as in the simulator's version above."""

        def codegen(context, builder, signature, args):
            operands = [builder.bitcast(v, _INT) for v in args[:6]] + list(args[6:])
            result = ir.LiteralStructType([_FLOAT] * 4)
            multiply = ir.InlineAsm(
                ir.FunctionType(result, [v.type for v in operands]),
                "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"
                " {$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};",
                "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
                side_effect=True,
            )
            sums = builder.call(multiply, operands, attrs=("convergent",))  # all lanes of a warp, together
            return cgutils.pack_array(builder, [builder.extract_value(sums, i) for i in range(4)])

        f = types.float32
        return types.UniTuple(f, 4)(*[f] * 10), codegen
