"""CuPy behind a slice: with_cupy.py [async]."""

import sys

import cupy
from common import report_health, report_seen, take_until_refused

if sys.argv[1:] == ["async"]:
    cupy.cuda.set_allocator(cupy.cuda.MemoryAsyncPool().malloc)


def product_is_right() -> bool:
    """A sum of products agrees with the formula."""
    x = cupy.arange(1000, dtype=cupy.float64)
    return float((x * x).sum()) == 332833500.0


before = product_is_right()
free, total = cupy.cuda.runtime.memGetInfo()
report_seen(total=total, free=free)
kept = take_until_refused(
    lambda size: cupy.ones(size, dtype=cupy.uint8),
    (cupy.cuda.memory.OutOfMemoryError, cupy.cuda.runtime.CUDARuntimeError),
)
del kept
cupy.get_default_memory_pool().free_all_blocks()
report_health(healthy=before and product_is_right())
