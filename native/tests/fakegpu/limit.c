/* Limits of a context that cost device memory: stack at once, the device-side heap when
 * code that uses it is loaded. */
#define _GNU_SOURCE
#include "limit.h"

enum { STACK = 0, PRINTF_FIFO = 1, MALLOC_HEAP = 2, LIMITS = 11, RESIDENT_THREADS = 1536 /* attribute 39 */ };

static uint64_t stack_bytes(const struct fake_context *context, uint64_t per_thread)
{
    int processors = driver.gpus[driver.index[context->device]].multiprocessors;
    return rounded(per_thread * (uint64_t)processors * RESIDENT_THREADS, CHUNK);
}

/* Changes what is charged for one limit from *charged to `wanted`. */
static CUresult recharge(const struct fake_context *context, uint64_t *charged, uint64_t wanted)
{
    if (wanted > *charged && !device_take(context->device, wanted - *charged))
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (wanted < *charged)
        device_give(context->device, *charged - wanted);
    *charged = wanted;
    return CUDA_SUCCESS;
}

/* The defaults (1 KiB, 1 MiB, 8 MiB) are part of the context's own memory. */
static uint64_t beyond(uint64_t bytes, uint64_t standard)
{
    return bytes > standard ? bytes - standard : 0;
}

CUresult limit_stack(struct fake_context *context, uint64_t per_thread)
{
    uint64_t wanted = beyond(stack_bytes(context, per_thread), stack_bytes(context, 1024));
    CUresult result = recharge(context, &context->stack_charged, wanted);
    if (result == CUDA_SUCCESS)
        context->stack = per_thread;
    return result;
}

CUresult limit_make_heap(struct fake_context *context)
{
    uint64_t wanted = rounded(beyond(context->malloc_heap, 8 * MIB), CHUNK);
    return context->heap_charged ? CUDA_SUCCESS
                                 : recharge(context, &context->heap_charged, wanted);
}

API CUresult cuCtxSetLimit(int limit, size_t value)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    if (limit < 0 || limit >= LIMITS)
        return driver_leave(CUDA_ERROR_UNSUPPORTED_LIMIT);
    if ((result = capture_guard()) != CUDA_SUCCESS)
        return driver_leave(result);
    if (limit == STACK)
        return driver_leave(limit_stack(context, rounded(value, 16)));
    if (limit == MALLOC_HEAP) {
        /* Once there is a heap its size is fixed; until then the limit costs nothing. */
        if (context->heap_charged > 0 && value != context->malloc_heap)
            return driver_leave(CUDA_ERROR_INVALID_VALUE);
        context->malloc_heap = value;
    }
    if (limit == PRINTF_FIFO) {
        result = recharge(context, &context->fifo_charged, rounded(beyond(value, MIB), CHUNK));
        if (result == CUDA_SUCCESS)
            context->printf_fifo = value;
    }
    return driver_leave(result);
}

API CUresult cuCtxGetLimit(size_t *value, int limit)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    if (limit < 0 || limit >= LIMITS)
        return driver_leave(CUDA_ERROR_UNSUPPORTED_LIMIT);
    *value = limit == STACK         ? context->stack
             : limit == PRINTF_FIFO ? context->printf_fifo
             : limit == MALLOC_HEAP ? context->malloc_heap
                                    : 0;
    return driver_leave(CUDA_SUCCESS);
}
