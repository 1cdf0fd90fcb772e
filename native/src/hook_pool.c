/* Stream-ordered memory. The driver grows a pool when it must and keeps what is freed, so a pool is charged for what
 * the driver reserves for it, asked after each allocation; the growth is reserved before.
 *
 * An allocation inside a stream capture takes nothing until its graph is launched: see hook_graph.c. */
#include "charge.h"
#include "driver.h"
#include "gate.h"
#include "hooks.h"
#include "pools.h"

struct request {
    struct vs_process *process;
    int gpu;
    unsigned pool;
    uint64_t reserved, size;
    CUstream stream;
    bool per_thread; /* which of the driver's forms speaks of this stream */
};

/* The pool that an allocation without one comes from. */
static CUmemoryPool current_pool(struct vs_process *process, int gpu)
{
    CUmemoryPool pool = NULL;
    int device = vs_device_of_gpu(process, gpu);
    __typeof__(&cuDeviceGetMemPool) ask = VS_REAL(cuDeviceGetMemPool);
    int mode = vs_quiet_begin(); /* another thread may be capturing */
    if (ask && device >= 0)
        ask(&pool, device);
    vs_quiet_end(mode);
    return pool;
}

/* The GPU of a pool that was not made here: a device's default pool, else that of the stream. */
static int gpu_of_pool(struct vs_process *process, CUmemoryPool pool, int otherwise)
{
    CUmemoryPool default_pool;
    __typeof__(&cuDeviceGetDefaultMemPool) ask = VS_REAL(cuDeviceGetDefaultMemPool);
    for (CUdevice device = 0; ask && device < VS_DEVICES && ask(&default_pool, device) == CUDA_SUCCESS; device++)
        if (default_pool == pool)
            return vs_gpu_of_device(process, device);
    return otherwise;
}

static bool capturing(const struct request *request)
{
    int status = 0;
    __typeof__(&cuStreamIsCapturing) ask =
        request->per_thread ? VS_REAL(cuStreamIsCapturing_ptsz) : VS_REAL(cuStreamIsCapturing);
    return ask && ask(request->stream, &status) == CUDA_SUCCESS && status != 0;
}

/* Whether the pool holds enough unused memory already. */
static bool has_room(struct vs_process *process, unsigned pool, uint64_t size)
{
    struct vs_pool *entry = &process->books.pools[pool];
    uint64_t used = 0;
    vs_pool_settle(process, pool, 0);
    return vs_pool_ask(process, pool, CU_POOL_USED, &used) &&
           vs_plus(used, size) <= entry->reserved;
}

/* Finds pool and GPU. False: pass through. */
static bool find_pool(struct request *request, CUmemoryPool pool)
{
    request->gpu = vs_stream_gpu(request->process, request->stream);
    if (request->gpu == VS_NO_CONTEXT)
        return false;
    if (!pool)
        pool = current_pool(request->process, request->gpu);
    request->pool = vs_books_pool(&request->process->books, (uint64_t)(uintptr_t)pool);
    if (request->pool == VS_NO_POOL && pool)
        request->pool = vs_pool_entry(request->process, pool, gpu_of_pool(request->process, pool, request->gpu));
    if (request->pool == VS_NO_POOL)
        return true; /* more pools than we can follow: charged by size, for good */
    request->gpu = request->process->books.pools[request->pool].gpu;
    return request->gpu != VS_NO_CONTEXT; /* host memory */
}

/* Before the driver. True: ask it, then call end. `refused`: return out of memory. Neither: pass through. */
static bool begin(struct request *request, CUmemoryPool pool, bool *refused)
{
    *refused = false;
    request->process = vs_on();
    if (!request->process)
        return false;
    atomic_store_explicit(&vs_graphs_allocate, 1, memory_order_relaxed);
    /* Asked first: questions about pools and contexts would invalidate the capture. */
    if (capturing(request) || !find_pool(request, pool))
        return false;
    request->reserved = vs_page_up(request->size);
    vs_refresh_limits(request->process, false);
    if (VS_LIKELY(vs_reserve_now(request->process, request->gpu, request->reserved)))
        return true;
    if (request->pool != VS_NO_POOL && has_room(request->process, request->pool, request->size)) {
        request->reserved = 0;
        return true;
    }
    *refused = !vs_reserve(request->process, request->gpu, request->reserved);
    return !*refused;
}

/* Gives an allocation back whose pool has grown past the slice. */
static void undo(const struct request *request, CUdeviceptr ptr)
{
    __typeof__(&cuMemFreeAsync) give = request->per_thread ? VS_REAL(cuMemFreeAsync_ptsz) : VS_REAL(cuMemFreeAsync);
    __typeof__(&cuStreamSynchronize) wait =
        request->per_thread ? VS_REAL(cuStreamSynchronize_ptsz) : VS_REAL(cuStreamSynchronize);
    if (give)
        VS_INSIDE(give(ptr, request->stream));
    if (wait)
        VS_INSIDE(wait(request->stream));
    vs_pools_trim(request->process, request->gpu);
    vs_refuse(request->process, request->gpu, request->size);
}

/* After the driver: settles, and takes the allocation back if the pool grew too far. */
static CUresult end(const struct request *request, CUresult result, CUdeviceptr ptr)
{
    struct vs_process *process = request->process;
    if (request->pool == VS_NO_POOL) {
        vs_settled(process, request->gpu, request->reserved, result == CUDA_SUCCESS ? request->reserved : 0);
        return result;
    }
    uint64_t before = process->books.pools[request->pool].reserved;
    vs_pool_settle(process, request->pool, request->reserved);
    uint64_t after = process->books.pools[request->pool].reserved;
    if (result != CUDA_SUCCESS || VS_LIKELY(vs_minus(after, before) <= request->reserved))
        return result;
    if (vs_total(&process->view, (unsigned)request->gpu).used <= vs_limit_of(process, request->gpu))
        return result;
    undo(request, ptr);
    return CUDA_ERROR_OUT_OF_MEMORY;
}

/* The two forms of a call differ in the name alone. */
#define ALLOC_ASYNC(name, thread)                                                                                     \
    VS_EXPORT CUresult name(CUdeviceptr *ptr, size_t size, CUstream stream)                                           \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct request request = {.size = size, .stream = stream, .per_thread = thread};                             \
        bool refused;                                                                                                 \
        if (!begin(&request, NULL, &refused))                                                                         \
            return refused ? CUDA_ERROR_OUT_OF_MEMORY : real(ptr, size, stream);                                      \
        CUdeviceptr made = 0;                                                                                         \
        CUresult result = VS_INSIDE(real(ptr ? &made : NULL, size, stream));                                          \
        result = end(&request, result, made);                                                                         \
        if (result == CUDA_SUCCESS)                                                                                   \
            *ptr = made;                                                                                              \
        return result;                                                                                                \
    }

#define ALLOC_FROM_POOL(name, thread)                                                                                 \
    VS_EXPORT CUresult name(CUdeviceptr *ptr, size_t size, CUmemoryPool pool, CUstream stream)                        \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct request request = {.size = size, .stream = stream, .per_thread = thread};                             \
        bool refused;                                                                                                 \
        if (!begin(&request, pool, &refused))                                                                         \
            return refused ? CUDA_ERROR_OUT_OF_MEMORY : real(ptr, size, pool, stream);                                \
        CUdeviceptr made = 0;                                                                                         \
        CUresult result = VS_INSIDE(real(ptr ? &made : NULL, size, pool, stream));                                    \
        result = end(&request, result, made);                                                                         \
        if (result == CUDA_SUCCESS)                                                                                   \
            *ptr = made;                                                                                              \
        return result;                                                                                                \
    }

/* Freed memory stays in its pool until the stream has passed the free. A block of cuMemAlloc may be given here too. */
#define FREE_ASYNC(name)                                                                                              \
    VS_EXPORT CUresult name(CUdeviceptr ptr, CUstream stream)                                                         \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct vs_process *process = vs_on();                                                                         \
        struct vs_block block;                                                                                        \
        uint64_t freed;                                                                                               \
        if (!process || !vs_block_leaves(process, ptr, &block, &freed)) {                                             \
            if (process)                                                                                              \
                atomic_store_explicit(&process->pools_stale, 1, memory_order_relaxed);                                \
            return real(ptr, stream);                                                                                 \
        }                                                                                                             \
        CUresult result = VS_INSIDE(real(ptr, stream));                                                               \
        vs_block_left(process, ptr, &block, freed, result == CUDA_SUCCESS);                                           \
        return result;                                                                                                \
    }

ALLOC_ASYNC(cuMemAllocAsync, false)
ALLOC_ASYNC(cuMemAllocAsync_ptsz, true)
ALLOC_FROM_POOL(cuMemAllocFromPoolAsync, false)
ALLOC_FROM_POOL(cuMemAllocFromPoolAsync_ptsz, true)
FREE_ASYNC(cuMemFreeAsync)
FREE_ASYNC(cuMemFreeAsync_ptsz)

/* Notes a pool by where its memory is. Managed memory may come to a GPU from anywhere: it counts there from the start. */
static void note_pool(struct vs_process *process, CUmemoryPool pool, const CUmemLocation *location, int type)
{
    CUcontext context;
    int gpu = vs_gpu_of_location(process, location);
    if (type == CU_ALLOCATION_MANAGED) {
        process->books.managed_pools = 1;
        if (gpu == VS_NO_CONTEXT && (gpu = vs_current_gpu(process, &context)) == VS_NO_CONTEXT)
            gpu = vs_gpu_of_device(process, 0);
    }
    vs_pool_entry(process, pool, gpu);
}

VS_EXPORT CUresult cuMemPoolCreate(CUmemoryPool *pool, const CUmemPoolProps *props)
{
    VS_REAL_CUDA(cuMemPoolCreate);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(pool, props));
    if (process && result == CUDA_SUCCESS && props)
        note_pool(process, *pool, &props->location, props->allocType);
    return result;
}

/* The driver's own pools, of host memory too. */
#define GET_POOL(name)                                                                                                \
    VS_EXPORT CUresult name(CUmemoryPool *pool, CUmemLocation *location, int type)                                    \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct vs_process *process = vs_on();                                                                         \
        CUresult result = VS_INSIDE(real(pool, location, type));                                                      \
        if (process && result == CUDA_SUCCESS && pool && location)                                                    \
            note_pool(process, *pool, location, type);                                                                \
        return result;                                                                                                \
    }

GET_POOL(cuMemGetDefaultMemPool)
GET_POOL(cuMemGetMemPool)

/* A pool of another process: its memory is charged there. */
VS_EXPORT CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool *pool, void *handle, int type,
                                                      unsigned long long flags)
{
    VS_REAL_CUDA(cuMemPoolImportFromShareableHandle);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(pool, handle, type, flags));
    if (process && result == CUDA_SUCCESS)
        vs_pool_entry(process, *pool, VS_NO_CONTEXT);
    return result;
}

/* Takes a destroyed pool out of the books. Its GPU stays there for whoever is about to settle. */
static struct vs_pool pool_gone(struct vs_process *process, CUmemoryPool pool)
{
    struct vs_pool gone = {.gpu = VS_NO_CONTEXT};
    vs_lock(&process->books_lock);
    unsigned entry = vs_books_pool(&process->books, (uint64_t)(uintptr_t)pool);
    if (pool && entry != VS_NO_POOL) {
        gone = process->books.pools[entry];
        process->books.pools[entry] = (struct vs_pool){.gpu = gone.gpu};
    }
    vs_unlock(&process->books_lock);
    return gone;
}

VS_EXPORT CUresult cuMemPoolDestroy(CUmemoryPool pool)
{
    VS_REAL_CUDA(cuMemPoolDestroy);
    struct vs_process *process = vs_on();
    if (!process)
        return real(pool);
    vs_lock(&process->pools_lock);
    CUresult result = VS_INSIDE(real(pool));
    struct vs_pool gone = {.gpu = VS_NO_CONTEXT};
    if (result == CUDA_SUCCESS)
        gone = pool_gone(process, pool);
    vs_unlock(&process->pools_lock);
    if (gone.gpu >= 0 && gone.reserved) {
        vs_uncharge(process, gone.gpu, gone.reserved);
        vs_measure_overhead(process, gone.gpu, false); /* what is still in use of it lives on without a name */
    }
    return result;
}

VS_EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
    VS_REAL_CUDA(cuMemPoolTrimTo);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(pool, keep));
    if (process && pool)
        vs_pool_refresh(process, vs_books_pool(&process->books, (uint64_t)(uintptr_t)pool));
    return result;
}

/* After a wait the driver may have given pool memory back. */
static void waited(void)
{
    struct vs_process *process = atomic_load_explicit(&vs_process_now, memory_order_acquire);
    if (VS_LIKELY(!process || !atomic_load_explicit(&process->pools_stale, memory_order_relaxed)) || !vs_on())
        return;
    atomic_store_explicit(&process->pools_stale, 0, memory_order_relaxed);
    for (unsigned pool = 0; pool < VS_POOLS; pool++)
        vs_pool_refresh(process, pool);
}

#define WAIT(name, parameters, arguments)                                                                             \
    VS_EXPORT CUresult name parameters                                                                                \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        CUresult result = real arguments;                                                                             \
        vs_gate_waited();                                                                                             \
        waited();                                                                                                     \
        return result;                                                                                                \
    }

WAIT(cuCtxSynchronize, (void), ())
WAIT(cuStreamSynchronize, (CUstream stream), (stream))
WAIT(cuStreamSynchronize_ptsz, (CUstream stream), (stream))
WAIT(cuEventSynchronize, (CUevent event), (event))
