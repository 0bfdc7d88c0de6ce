"""Jobs on threads: run_jobs(body, jobs, arguments) calls body(job, *arguments) for job = 0 .. jobs - 1.

Numba's `prange` does the same, but compiles each kernel twice as long: it analyses every loop for what
might run in parallel. Here it is known. Which thread runs which job is the threading layer's choice: every job writes
elements of its own, so it does not matter.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.ufunc import parallel


def start_threads():
    """Start the threads of Numba's threading layer; a kernel that is loaded from the disk cache does it, too."""
    parallel._launch_threads()


def _borrowed(context, builder, kind, value):
    """The value with arrays that own nothing: threads would fight for the counts of who holds them."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo, array.parent = (ir.Constant(field.type, None) for field in (array.meminfo, array.parent))
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for i, part in enumerate(kind.types):
            held = _borrowed(context, builder, part, builder.extract_value(value, i))
            value = builder.insert_value(value, held, i)
    return value


@intrinsic
def run_jobs(typing_context, body, jobs, arguments):
    """body(job, *arguments) for each job, on the threads of Numba's threading layer; body is a jit function.

    Raises:
        MemoryError: a job could not allocate what it needs, which is all that can go wrong inside.
    """
    inner = typing_context.resolve_function_type(body, (types.intp, *arguments.types), {})

    def codegen(context, builder, signature, args):
        start_threads()
        library = context.active_code_library
        library._reload_init.add(start_threads)
        compiled = body.dispatcher.get_compile_result(inner)
        library.add_linking_library(compiled.library)
        callee = context.declare_function(builder.module, compiled.fndesc)
        _, n_jobs, values = args
        i1, i64, pointer = ir.IntType(1), ir.IntType(64), ir.IntType(8).as_pointer()
        held = cgutils.alloca_once_value(builder, _borrowed(context, builder, arguments, values))
        failed = cgutils.alloca_once_value(builder, i1(0))
        threads = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.IntType(32), []), "get_num_threads")
        threads = builder.call(threads, [])
        shares = builder.sext(threads, i64)
        both = cgutils.alloca_once_value(
            builder, cgutils.make_anonymous_struct(builder, [held, failed, n_jobs, shares])
        )

        # run(first, count, steps, both): shares *first .. *first + *count of the jobs, as the threading layer
        # calls it. A share for each thread: of jobs the layer "workqueue" gives the last thread all that do not divide
        run = ir.Function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [i64.as_pointer(), i64.as_pointer(), pointer, both.type]),
            f"{builder.function.name}.jobs",
        )
        run.linkage = "internal"
        inside = ir.IRBuilder(run.append_basic_block())
        first, count, shared = (inside.load(run.args[i]) for i in (0, 1, 3))
        values = inside.load(inside.extract_value(shared, 0))
        values = [inside.extract_value(values, i) for i in range(len(arguments.types))]
        ends = [
            inside.sdiv(inside.mul(share, inside.extract_value(shared, 2)), inside.extract_value(shared, 3))
            for share in (first, inside.add(first, count))
        ]
        with cgutils.for_range_slice(inside, *ends, i64(1)) as (job, _):
            convention = context.call_conv
            status, _ = convention.call_function(inside, callee, inner.return_type, inner.args, [job, *values])
            with inside.if_then(status.is_error):
                inside.store(i1(1), inside.extract_value(shared, 1))
        inside.ret_void()

        # numba_parallel_for(run, bases, [threads], steps, both, 0, 1, threads): share i gets bases[0] + i steps[0]
        launch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer] * 5 + [i64, i64, ir.IntType(32)]),
            "numba_parallel_for",
        )
        places = [cgutils.alloca_once_value(builder, value) for value in (i64(0), shares, i64(1))]
        base, size, step = (builder.bitcast(place, pointer) for place in places)
        builder.call(
            launch,
            [builder.bitcast(run, pointer), base, size, step, builder.bitcast(both, pointer), i64(0), i64(1), threads],
        )  # fmt: skip
        with builder.if_then(builder.load(failed), likely=False):
            context.call_conv.return_user_exc(builder, MemoryError, ("a kernel found no memory for its work",))
        return context.get_dummy_value()

    return types.void(body, jobs, arguments), codegen
