/* Streams and the GPU's time.
 *
 * Each stream runs its work in order. Processes share a GPU equally: work that is
 * given while n other processes are busy takes n + 1 times as long. A stream
 * holds 1,024 items at most; then giving more waits, as with a real driver. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>

struct fake_stream *stream_make(struct fake_context *context, unsigned flags, int priority)
{
    struct fake_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return NULL;
    stream->mark = STREAM_MARK;
    stream->context = context;
    stream->flags = flags;
    stream->priority = priority;
    stream->id = driver_next_id();
    stream->next = context->streams;
    context->streams = stream;
    return stream;
}

/* The stream behind handle 0: the first one made, so the last in the list. */
static struct fake_stream *default_stream(const struct fake_context *context)
{
    struct fake_stream *stream = context->streams;
    while (stream && stream->next)
        stream = stream->next;
    return stream;
}

struct fake_stream *stream_of(CUstream handle, struct fake_context *context)
{
    if (!handle || handle == STREAM_LEGACY || handle == STREAM_PER_THREAD)
        return default_stream(context);
    for (struct fake_context *c = driver.contexts; c; c = c->next)
        for (struct fake_stream *stream = c->streams; stream; stream = stream->next)
            if (stream == handle)
                return stream;
    grave_check(handle);
    return NULL;
}

uint64_t context_tail(const struct fake_context *context)
{
    uint64_t tail = 0;
    for (struct fake_stream *stream = context->streams; stream; stream = stream->next)
        if (stream->tail > tail)
            tail = stream->tail;
    return tail;
}

void stream_work(struct fake_stream *stream, uint64_t duration)
{
    int gpu = driver.index[stream->context->device];
    uint64_t oldest = stream->ends[stream->issued % MAX_STREAM_QUEUE];
    if (oldest > driver_now()) {
        pthread_mutex_unlock(&driver.lock);
        driver_sleep_until(oldest);
        pthread_mutex_lock(&driver.lock);
    }
    struct books_use *use = books_join() == 0 ? books_mine(gpu) : NULL;
    uint64_t now = driver_now();
    uint64_t start = stream->tail > now ? stream->tail : now;
    uint64_t shares = duration ? 1 + (uint64_t)books_busy_others(gpu, now) : 1;
    stream->tail = start + duration * shares;
    stream->ends[stream->issued++ % MAX_STREAM_QUEUE] = stream->tail;
    if (!use)
        return;
    use->busy_ns += duration;
    use->launches++;
    if (stream->tail > use->busy_until)
        use->busy_until = stream->tail;
}

API CUresult cuStreamCreateWithPriority(CUstream *out, unsigned flags, int priority)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    *out = stream_make(context, flags, priority);
    return driver_leave(*out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

API CUresult cuStreamCreate(CUstream *out, unsigned flags)
{
    return cuStreamCreateWithPriority(out, flags, 0);
}

API CUresult cuStreamDestroy_v2(CUstream handle)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_stream *stream = stream_of(handle, context);
    if (!stream || stream == default_stream(stream->context))
        return driver_leave(CUDA_ERROR_INVALID_HANDLE);
    struct fake_stream **link = &stream->context->streams;
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    stream->mark = 0;
    grave_add(stream);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuStreamDestroy(CUstream stream)
{
    return cuStreamDestroy_v2(stream);
}

/* Finds the stream and tells when it will be done. */
static CUresult tail_of(CUstream handle, uint64_t *tail)
{
    struct fake_context *context;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_stream *stream = stream_of(handle, context);
    if (!stream)
        return driver_leave(CUDA_ERROR_INVALID_HANDLE);
    if (stream->capturing)
        return driver_leave(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    *tail = stream->tail;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuStreamSynchronize(CUstream stream)
{
    uint64_t tail = 0;
    CUresult result = tail_of(stream, &tail);
    if (result == CUDA_SUCCESS)
        driver_synchronized(tail);
    return result;
}

API CUresult cuStreamQuery(CUstream stream)
{
    uint64_t tail = 0;
    CUresult result = tail_of(stream, &tail);
    if (result != CUDA_SUCCESS)
        return result;
    return tail > driver_now() ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

/* Runs when everything before it is done: here the caller waits for that. */
API CUresult cuLaunchHostFunc(CUstream stream, void (*function)(void *), void *data)
{
    CUresult result = cuStreamSynchronize(stream);
    if (result == CUDA_SUCCESS)
        function(data);
    return result;
}

API CUresult cuStreamAddCallback(CUstream stream, void (*function)(CUstream, CUresult, void *),
                                 void *data, unsigned flags)
{
    (void)flags;
    CUresult result = cuStreamSynchronize(stream);
    if (result == CUDA_SUCCESS)
        function(stream, CUDA_SUCCESS, data);
    return result;
}
