/* Copies and fills: device memory is host memory here, so they happen at once,
 * after the work that stands before them in their stream. */
#define _GNU_SOURCE
#include "driver.h"

#include <string.h>

/* Waits until everything given to the stream is done. */
static CUresult drain(CUstream stream)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_stream *on = stream_of(stream, context);
    uint64_t tail = on ? on->tail : 0;
    driver_leave(CUDA_SUCCESS);
    driver_sleep_until(tail);
    return on ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

static CUresult copy(uintptr_t to, uintptr_t from, size_t size, CUstream stream)
{
    CUresult result = driver.nothing ? CUDA_ERROR_NOT_READY : drain(stream);
    if (result == CUDA_SUCCESS && size > 0)
        memmove((void *)to, (const void *)from, size);
    return driver.nothing ? CUDA_SUCCESS : result;
}

API CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size)
{
    return copy((uintptr_t)to, (uintptr_t)from, size, NULL);
}

API CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size)
{
    return copy((uintptr_t)to, (uintptr_t)from, size, NULL);
}

API CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t size)
{
    return copy((uintptr_t)to, (uintptr_t)from, size, NULL);
}

API CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t size)
{
    return copy((uintptr_t)to, (uintptr_t)from, size, NULL);
}

API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, CUstream stream)
{
    return copy((uintptr_t)to, (uintptr_t)from, size, stream);
}

API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, CUstream stream)
{
    return copy((uintptr_t)to, (uintptr_t)from, size, stream);
}

API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)
{
    return copy((uintptr_t)to, (uintptr_t)from, size, stream);
}

API CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)
{
    return copy((uintptr_t)to, (uintptr_t)from, size, stream);
}

/* Fills `count` items of `width` bytes. */
static CUresult fill(CUdeviceptr to, uint32_t value, size_t count, size_t width, CUstream stream)
{
    CUresult result = driver.nothing ? CUDA_ERROR_NOT_READY : drain(stream);
    char *at = (char *)(uintptr_t)to;
    if (result != CUDA_SUCCESS)
        return driver.nothing ? CUDA_SUCCESS : result;
    for (size_t i = 0; width > 1 && i < count; i++)
        memcpy(at + i * width, &value, width);
    if (width == 1)
        memset(at, (int)value, count);
    return CUDA_SUCCESS;
}

API CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count)
{
    return fill(to, value, count, 1, NULL);
}

API CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count)
{
    return fill(to, value, count, 2, NULL);
}

API CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned value, size_t count)
{
    return fill(to, value, count, 4, NULL);
}

API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream stream)
{
    return fill(to, value, count, 1, stream);
}

API CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count, CUstream stream)
{
    return fill(to, value, count, 2, stream);
}

API CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, size_t count, CUstream stream)
{
    return fill(to, value, count, 4, stream);
}
