/* Kernel launches: nothing is computed, time passes. */
#define _GNU_SOURCE
#include "graph.h"
#include "limit.h"
#include "module.h"

#include <string.h>

/* Bytes a thread that calling malloc on the device makes necessary, as on an H100. */
enum { STACK_OF_MALLOC = 1024 + 544 };

/* The part of CUlaunchConfig that counts here. */
struct launch_config {
    unsigned grid[3], block[3];
    unsigned shared;
    CUstream stream;
    void *attributes;
    unsigned attribute_count;
};

static CUresult launch(CUfunction function, uint64_t blocks, CUstream handle)
{
    struct fake_context *context;
    if (__builtin_expect(driver.nothing, 0))
        return CUDA_SUCCESS;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_stream *stream = stream_of(handle, context);
    if (!stream || !function)
        return driver_leave(CUDA_ERROR_INVALID_HANDLE);
    if (blocks == 0)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    /* A kernel that needs more stack than there is makes the driver take it now. */
    uint64_t stack = function->local_bytes;
    if (strstr(function->module->text, " malloc") && stack < STACK_OF_MALLOC)
        stack = STACK_OF_MALLOC;
    if (stack > context->stack && !stream->capturing) {
        result = limit_stack(context, stack);
        if (result != CUDA_SUCCESS)
            return driver_leave(result);
    }
    if (!function->loaded && function->code_bytes > 0) {
        if (!device_take(context->device, rounded(function->code_bytes, CHUNK)))
            return driver_leave(CUDA_ERROR_OUT_OF_MEMORY);
        function->loaded = true;
    }
    uint64_t duration = function->fixed_ns + function->block_ns * blocks;
    if (stream->capture_broken)
        return driver_leave(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    if (stream->capturing)
        return driver_leave(graph_add_kernel(stream->capturing, duration, stack, NULL));
    stream_work(stream, duration);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                            unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                            CUstream stream, void **parameters, void **extra)
{
    (void)block_x, (void)block_y, (void)block_z, (void)shared, (void)parameters, (void)extra;
    return launch(function, (uint64_t)grid_x * grid_y * grid_z, stream);
}

API CUresult cuLaunchCooperativeKernel(CUfunction function, unsigned grid_x, unsigned grid_y,
                                       unsigned grid_z, unsigned block_x, unsigned block_y,
                                       unsigned block_z, unsigned shared, CUstream stream,
                                       void **parameters)
{
    (void)block_x, (void)block_y, (void)block_z, (void)shared, (void)parameters;
    return launch(function, (uint64_t)grid_x * grid_y * grid_z, stream);
}

API CUresult cuLaunchKernelEx(const struct launch_config *config, CUfunction function,
                              void **parameters, void **extra)
{
    (void)parameters, (void)extra;
    if (!config)
        return CUDA_ERROR_INVALID_VALUE;
    uint64_t blocks = (uint64_t)config->grid[0] * config->grid[1] * config->grid[2];
    return launch(function, blocks, config->stream);
}

API CUresult cuLaunch(CUfunction function)
{
    return launch(function, 1, NULL);
}

API CUresult cuLaunchGrid(CUfunction function, int width, int height)
{
    return launch(function, (uint64_t)width * (uint64_t)height, NULL);
}

API CUresult cuLaunchGridAsync(CUfunction function, int width, int height, CUstream stream)
{
    return launch(function, (uint64_t)width * (uint64_t)height, stream);
}

struct multi_launch {
    CUfunction function;
    unsigned grid[3], block[3], shared;
    CUstream stream;
    void **parameters;
};

API CUresult cuLaunchCooperativeKernelMultiDevice(const struct multi_launch *launches, unsigned count,
                                                  unsigned flags)
{
    (void)flags;
    CUresult result = CUDA_SUCCESS;
    for (unsigned i = 0; i < count && result == CUDA_SUCCESS; i++) {
        const unsigned *grid = launches[i].grid;
        result = launch(launches[i].function, (uint64_t)grid[0] * grid[1] * grid[2], launches[i].stream);
    }
    return result;
}
