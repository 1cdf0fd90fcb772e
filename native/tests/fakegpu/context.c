/* Contexts: each thread has a stack of them, each process one primary a GPU. */
#define _GNU_SOURCE
#include "pool.h"

#include <stdlib.h>
#include <string.h>

static __thread struct fake_context *stack[STACK_DEPTH];
static __thread int depth;

struct fake_context *context_checked(CUcontext context)
{
    for (struct fake_context *c = driver.contexts; c; c = c->next)
        if (c == context && c->mark == CONTEXT_MARK)
            return c;
    return NULL;
}

struct fake_context *context_current(void)
{
    return depth > 0 ? context_checked(stack[depth - 1]) : NULL;
}

bool context_push(struct fake_context *context)
{
    if (depth == STACK_DEPTH)
        return false;
    stack[depth++] = context;
    return true;
}

struct fake_context *context_make(int device, unsigned flags, unsigned version)
{
    const struct fake_gpu *gpu = &driver.gpus[driver.index[device]];
    uint64_t overhead = driver.nothing ? 0 : gpu->context + gpu->hidden;
    struct fake_context *context = calloc(1, sizeof *context);
    if (!context || !device_take(device, overhead)) {
        free(context);
        return NULL;
    }
    *context = (struct fake_context){.mark = CONTEXT_MARK, .device = device, .flags = flags,
                                     .version = version, .id = driver_next_id(),
                                     .charged = overhead, .stack = 1024,
                                     .printf_fifo = MIB, .malloc_heap = 8 * MIB,
                                     .next = driver.contexts};
    stream_make(context, 0, 0);
    driver.contexts = context;
    if (books_join() == 0) {
        books_mine(driver.index[device])->contexts++;
        books_mine(driver.index[device])->hidden += overhead ? gpu->hidden : 0;
    }
    return context;
}

void context_end(struct fake_context *context)
{
    struct fake_context **link = &driver.contexts;
    while (*link != context)
        link = &(*link)->next;
    *link = context->next;
    range_end_all(context);
    heap_end(context);
    device_give(context->device, context->charged + context->stack_charged +
                                     context->heap_charged + context->fifo_charged);
    struct books_use *use = books_mine(driver.index[context->device]);
    if (use) {
        use->contexts--;
        use->hidden -= context->charged ? driver.gpus[driver.index[context->device]].hidden : 0;
    }
    for (struct fake_stream *s = context->streams, *next; s; s = next) {
        next = s->next;
        s->mark = 0;
        free(s);
    }
    pools_settle();
    context->mark = 0; /* kept: programs hold stale handles and pass them in */
}

/* Creates a context and makes it current. */
static CUresult create(CUcontext *out, unsigned flags, CUdevice device, unsigned version)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!out)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    if (device < 0 || device >= driver.count)
        return driver_leave(CUDA_ERROR_INVALID_DEVICE);
    struct fake_context *context = context_make(device, flags, version);
    if (!context)
        return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
    context_push(context);
    *out = context;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuCtxCreate(CUcontext *out, unsigned flags, CUdevice device)
{
    return create(out, flags, device, 3010);
}

API CUresult cuCtxCreate_v2(CUcontext *out, unsigned flags, CUdevice device)
{
    return create(out, flags, device, 3020);
}

API CUresult cuCtxCreate_v3(CUcontext *out, void *affinity, int count, unsigned flags,
                            CUdevice device)
{
    (void)affinity, (void)count;
    return create(out, flags, device, 11040);
}

API CUresult cuCtxCreate_v4(CUcontext *out, void *parameters, unsigned flags, CUdevice device)
{
    (void)parameters;
    return create(out, flags, device, 12050);
}

API CUresult cuCtxDestroy_v2(CUcontext handle)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_context *context = context_checked(handle);
    if (!context || context->primary)
        return driver_leave(CUDA_ERROR_INVALID_CONTEXT);
    if (depth > 0 && stack[depth - 1] == context)
        depth--;
    context_end(context);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuCtxDestroy(CUcontext context)
{
    return cuCtxDestroy_v2(context);
}

API CUresult cuCtxDetach(CUcontext context)
{
    return cuCtxDestroy_v2(context);
}

API CUresult cuCtxPushCurrent_v2(CUcontext handle)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_context *context = context_checked(handle);
    bool pushed = context && context_push(context);
    return driver_leave(pushed ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT);
}

API CUresult cuCtxPushCurrent(CUcontext context)
{
    return cuCtxPushCurrent_v2(context);
}

API CUresult cuCtxPopCurrent_v2(CUcontext *out)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (depth == 0)
        return driver_leave(CUDA_ERROR_INVALID_CONTEXT);
    depth--;
    if (out)
        *out = stack[depth];
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuCtxPopCurrent(CUcontext *out)
{
    return cuCtxPopCurrent_v2(out);
}

API CUresult cuCtxSetCurrent(CUcontext handle)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    if (!handle) {
        depth -= depth > 0;
        return driver_leave(CUDA_SUCCESS);
    }
    struct fake_context *context = context_checked(handle);
    if (!context)
        return driver_leave(CUDA_ERROR_INVALID_CONTEXT);
    depth -= depth > 0;
    context_push(context);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuCtxGetCurrent(CUcontext *out)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    *out = context_current();
    return driver_leave(CUDA_SUCCESS);
}
