/* Events: the moment at which a stream reaches them is known when they are
 * recorded, because the stream's future is. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>

struct fake_event {
    unsigned flags;
    uint64_t when;             /* CLOCK_MONOTONIC ns; 0: never recorded */
    CUstream captured;         /* last recorded in this stream while it was being captured */
};

API CUresult cuEventCreate(CUevent *out, unsigned flags)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    *out = calloc(1, sizeof **out);
    if (*out)
        (*out)->flags = flags;
    return driver_leave(*out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

API CUresult cuEventDestroy_v2(CUevent event)
{
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    free(event);
    return CUDA_SUCCESS;
}

API CUresult cuEventDestroy(CUevent event)
{
    return cuEventDestroy_v2(event);
}

API CUresult cuEventRecord(CUevent event, CUstream handle)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_stream *stream = stream_of(handle, context);
    if (!stream || !event)
        return driver_leave(CUDA_ERROR_INVALID_HANDLE);
    uint64_t now = driver_now();
    event->captured = stream->capturing ? stream : NULL;
    if (!stream->capturing)
        event->when = stream->tail > now ? stream->tail : now;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned flags)
{
    (void)flags;
    return cuEventRecord(event, stream);
}

API CUresult cuEventQuery(CUevent event)
{
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    if (event->captured) { /* has no state of its own, and asking for it ends the capture */
        event->captured->capture_broken |= event->captured->capturing != NULL;
        return CUDA_ERROR_CAPTURED_EVENT;
    }
    return event->when > driver_now() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

API CUresult cuEventSynchronize(CUevent event)
{
    if (!event)
        return CUDA_ERROR_INVALID_HANDLE;
    driver_synchronized(event->when);
    return CUDA_SUCCESS;
}

API CUresult cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end)
{
    uint64_t now = driver_now();
    if (!start || !end || !start->when || !end->when)
        return CUDA_ERROR_INVALID_HANDLE;
    if (start->when > now || end->when > now)
        return CUDA_ERROR_NOT_READY;
    *milliseconds = (float)((double)((int64_t)(end->when - start->when)) / 1e6);
    return CUDA_SUCCESS;
}

API CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end)
{
    return cuEventElapsedTime_v2(milliseconds, start, end);
}

/* The stream goes on no earlier than the event. */
API CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned flags)
{
    struct fake_context *context;
    (void)flags;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_stream *stream = stream_of(handle, context);
    if (!stream || !event)
        return driver_leave(CUDA_ERROR_INVALID_HANDLE);
    if (!stream->capturing && event->when > stream->tail)
        stream->tail = event->when;
    return driver_leave(CUDA_SUCCESS);
}
