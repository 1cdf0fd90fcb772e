/* Questions about a stream. */
#define _GNU_SOURCE
#include "driver.h"

/* Locks and finds the stream; with CUDA_SUCCESS the lock is held. */
static CUresult enter_stream(CUstream handle, struct fake_stream **stream)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    *stream = stream_of(handle, context);
    return *stream ? CUDA_SUCCESS : driver_leave(CUDA_ERROR_INVALID_HANDLE);
}

API CUresult cuStreamGetFlags(CUstream handle, unsigned *flags)
{
    struct fake_stream *stream;
    CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *flags = stream->flags;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuStreamGetPriority(CUstream handle, int *priority)
{
    struct fake_stream *stream;
    CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *priority = stream->priority;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuStreamGetId(CUstream handle, unsigned long long *id)
{
    struct fake_stream *stream;
    CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *id = stream->id;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuStreamGetCtx(CUstream handle, CUcontext *context)
{
    struct fake_stream *stream;
    CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *context = stream->context;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuStreamGetDevice(CUstream handle, CUdevice *device)
{
    struct fake_stream *stream;
    CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *device = stream->context->device;
    return driver_leave(CUDA_SUCCESS);
}
