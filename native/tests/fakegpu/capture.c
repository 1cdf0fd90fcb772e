/* Stream capture: work given to a capturing stream becomes nodes of a graph. */
#define _GNU_SOURCE
#include "graph.h"

static __thread int thread_mode; /* 0 global, 1 thread-local, 2 relaxed */

CUresult capture_guard(void)
{
    enum { GLOBAL, THREAD_LOCAL, RELAXED };
    CUresult result = CUDA_SUCCESS;
    if (thread_mode == RELAXED)
        return result;
    for (struct fake_context *context = driver.contexts; context; context = context->next)
        for (struct fake_stream *stream = context->streams; stream; stream = stream->next) {
            bool mine = stream->capturing && pthread_equal(stream->capture_thread, pthread_self());
            bool harmed = stream->capture_mode == GLOBAL && thread_mode == GLOBAL;
            if (!stream->capturing || stream->capture_mode == RELAXED || (!mine && !harmed))
                continue;
            stream->capture_broken = true;
            result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    return result;
}

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

/* Starts capturing into `graph`, or into a new one. */
static CUresult begin(CUstream handle, struct fake_graph *graph, int mode)
{
    struct fake_stream *stream;
    CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (stream->capturing || !handle)
        return driver_leave(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    stream->capturing = graph ? graph : graph_make();
    stream->capture_mode = mode;
    stream->capture_id = driver_next_id();
    stream->capture_thread = pthread_self();
    stream->capture_broken = false;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuStreamBeginCapture_v2(CUstream stream, int mode)
{
    return begin(stream, NULL, mode);
}

API CUresult cuStreamBeginCapture(CUstream stream)
{
    return begin(stream, NULL, 0);
}

API CUresult cuStreamBeginCaptureToGraph(CUstream stream, CUgraph graph, const CUgraphNode *before,
                                         const void *edges, size_t count, int mode)
{
    (void)before, (void)edges, (void)count;
    return begin(stream, graph, mode);
}

API CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph)
{
    struct fake_stream *stream;
    CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    if (!stream->capturing)
        return driver_leave(CUDA_ERROR_ILLEGAL_STATE);
    *graph = stream->capture_broken ? NULL : stream->capturing;
    if (stream->capture_broken)
        graph_end(stream->capturing);
    stream->capturing = NULL;
    stream->capture_broken = false;
    return driver_leave(*graph ? CUDA_SUCCESS : CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

API CUresult cuStreamIsCapturing(CUstream handle, int *status)
{
    struct fake_stream *stream;
    CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *status = !stream->capturing ? 0 : stream->capture_broken ? 2 : 1;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuStreamGetCaptureInfo_v2(CUstream handle, int *status, uint64_t *id, CUgraph *graph,
                                       const CUgraphNode **before, size_t *count)
{
    struct fake_stream *stream;
    CUresult result = enter_stream(handle, &stream);
    if (result != CUDA_SUCCESS)
        return result;
    *status = !stream->capturing ? 0 : stream->capture_broken ? 2 : 1;
    if (stream->capturing && id)
        *id = stream->capture_id;
    if (stream->capturing && graph)
        *graph = stream->capturing;
    if (stream->capturing && before)
        *before = stream->capturing->last ? &stream->capturing->last : NULL;
    if (stream->capturing && count)
        *count = stream->capturing->last != NULL;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuStreamGetCaptureInfo(CUstream stream, int *status, uint64_t *id)
{
    return cuStreamGetCaptureInfo_v2(stream, status, id, NULL, NULL, NULL);
}

API CUresult cuStreamGetCaptureInfo_v3(CUstream stream, int *status, uint64_t *id, CUgraph *graph,
                                       const CUgraphNode **before, const void **edges,
                                       size_t *count)
{
    if (edges)
        *edges = NULL;
    return cuStreamGetCaptureInfo_v2(stream, status, id, graph, before, count);
}

API CUresult cuThreadExchangeStreamCaptureMode(int *mode)
{
    int old = thread_mode;
    thread_mode = *mode;
    *mode = old;
    return CUDA_SUCCESS;
}
