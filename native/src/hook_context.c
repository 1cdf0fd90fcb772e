/* Contexts. The driver takes hundreds of megabytes for the first one of a process: expected by what earlier ones
 * took, measured while it is made, and unmade if it does not fit. What lives in a context goes with it. */
#include "charge.h"
#include "driver.h"
#include "hooks.h"
#include "pools.h"

#define ASSUMED_COST (UINT64_C(384) << 20) /* of a context where nothing can be measured */

/* Begins the making of a context. True: make it, then call made. `refused`: out of memory. Neither: pass through. */
static bool making(struct vs_process *process, CUdevice device, struct vs_bracket *bracket, bool *refused)
{
    *refused = false;
    int gpu = process ? vs_gpu_of_device(process, device) : VS_NO_CONTEXT;
    if (gpu == VS_NO_CONTEXT)
        return false;
    uint64_t expected = gpu < 0 ? 1 : atomic_load(&vs_gpu(&process->view, (unsigned)gpu)->context_cost);
    *refused = !vs_bracket_open(process, bracket, gpu, vs_max(expected, 1)); /* a slice of 0 has no room for any */
    if (!*refused)
        vs_bracket_context(process, bracket);
    return !*refused;
}

/* Ends it. False: the context does not fit; unmake it and call unmade. */
static bool made(struct vs_process *process, struct vs_bracket *bracket, CUresult result)
{
    uint64_t grown;
    bool fits = vs_bracket_close(process, bracket, result == CUDA_SUCCESS, ASSUMED_COST, &grown);
    _Atomic uint64_t *cost = &vs_gpu(&process->view, (unsigned)bracket->gpu)->context_cost;
    if (grown > atomic_load(cost))
        atomic_store(cost, grown);
    if (!fits)
        vs_refuse(process, bracket->gpu, grown);
    vs_launches_forget(); /* a kernel that is bound to no context has its first launch in this one to come */
    return fits;
}

/* After a context is gone: its blocks, its code and heaps, and perhaps pools. */
static void unmade(struct vs_process *process, int gpu, CUcontext context)
{
    uint64_t freed[VS_REGION_GPUS] = {0};
    vs_forget_contexts(process, context);
    vs_launches_forget();
    vs_local_set(process, context, 0);
    vs_lock(&process->books_lock);
    vs_books_drop_context(&process->books, (uint64_t)(uintptr_t)context, freed);
    vs_unlock(&process->books_lock);
    vs_uncharge_all(process, freed);
    if (gpu < 0)
        return;
    vs_promises_trim(process, gpu);
    vs_pools_settle(process, gpu);
    vs_context_gone(process, gpu);
}

/* All makers of contexts look alike: `ctx` last made, `dev` where. The output is written only if the context stays. */
#define CONTEXT_CREATE(name, type, parameters, arguments, destroy)                                                    \
    VS_EXPORT CUresult name parameters                                                                                \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct vs_process *process = vs_on();                                                                         \
        struct vs_bracket bracket;                                                                                    \
        bool refused;                                                                                                 \
        type created = NULL, *out = ctx;                                                                              \
        if (!making(process, dev, &bracket, &refused))                                                                \
            return refused ? CUDA_ERROR_OUT_OF_MEMORY : real arguments;                                               \
        ctx = out ? &created : NULL;                                                                                  \
        CUresult result = VS_INSIDE(real arguments);                                                                  \
        if (!made(process, &bracket, result)) {                                                                       \
            __typeof__(&destroy) undo = VS_REAL(destroy);                                                             \
            if (undo)                                                                                                 \
                VS_INSIDE(undo(created));                                                                             \
            unmade(process, bracket.gpu, (CUcontext)created);                                                         \
            return CUDA_ERROR_OUT_OF_MEMORY;                                                                          \
        }                                                                                                             \
        if (result == CUDA_SUCCESS)                                                                                   \
            *out = created;                                                                                           \
        return result;                                                                                                \
    }

CONTEXT_CREATE(cuCtxCreate, CUcontext, (CUcontext *ctx, unsigned int flags, CUdevice dev), (ctx, flags, dev),
               cuCtxDestroy_v2)
CONTEXT_CREATE(cuCtxCreate_v2, CUcontext, (CUcontext *ctx, unsigned int flags, CUdevice dev), (ctx, flags, dev),
               cuCtxDestroy_v2)
CONTEXT_CREATE(cuCtxCreate_v3, CUcontext,
               (CUcontext *ctx, void *params, int count, unsigned int flags, CUdevice dev),
               (ctx, params, count, flags, dev), cuCtxDestroy_v2)
CONTEXT_CREATE(cuCtxCreate_v4, CUcontext, (CUcontext *ctx, void *params, unsigned int flags, CUdevice dev),
               (ctx, params, flags, dev), cuCtxDestroy_v2)
CONTEXT_CREATE(cuGLCtxCreate, CUcontext, (CUcontext *ctx, unsigned int flags, CUdevice dev), (ctx, flags, dev),
               cuCtxDestroy_v2)
CONTEXT_CREATE(cuGLCtxCreate_v2, CUcontext, (CUcontext *ctx, unsigned int flags, CUdevice dev), (ctx, flags, dev),
               cuCtxDestroy_v2)
CONTEXT_CREATE(cuVDPAUCtxCreate, CUcontext,
               (CUcontext *ctx, unsigned int flags, CUdevice dev, uint32_t vdpau, void *lookup),
               (ctx, flags, dev, vdpau, lookup), cuCtxDestroy_v2)
CONTEXT_CREATE(cuVDPAUCtxCreate_v2, CUcontext,
               (CUcontext *ctx, unsigned int flags, CUdevice dev, uint32_t vdpau, void *lookup),
               (ctx, flags, dev, vdpau, lookup), cuCtxDestroy_v2)
CONTEXT_CREATE(cuGreenCtxCreate, CUgreenCtx,
               (CUgreenCtx *ctx, CUdevResourceDesc desc, CUdevice dev, unsigned int flags), (ctx, desc, dev, flags),
               cuGreenCtxDestroy)

/* The GPU of any context, by making it current for a moment. */
static int gpu_of(struct vs_process *process, CUcontext context)
{
    CUcontext current, ignored;
    __typeof__(&cuCtxPushCurrent_v2) push = VS_REAL(cuCtxPushCurrent_v2);
    __typeof__(&cuCtxPopCurrent_v2) pop = VS_REAL(cuCtxPopCurrent_v2);
    int gpu = vs_current_gpu(process, &current);
    if (current == context || !push || !pop || push(context) != CUDA_SUCCESS)
        return gpu;
    gpu = vs_current_gpu(process, &current);
    pop(&ignored);
    return gpu;
}

#define CONTEXT_DESTROY(name)                                                                                         \
    VS_EXPORT CUresult name(CUcontext ctx)                                                                            \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct vs_process *process = vs_on();                                                                         \
        int gpu = process && ctx ? gpu_of(process, ctx) : VS_NO_CONTEXT;                                              \
        CUresult result = VS_INSIDE(real(ctx));                                                                       \
        if (gpu >= 0 && result == CUDA_SUCCESS)                                                                       \
            unmade(process, gpu, ctx);                                                                                \
        return result;                                                                                                \
    }

CONTEXT_DESTROY(cuCtxDestroy)
CONTEXT_DESTROY(cuCtxDestroy_v2)
CONTEXT_DESTROY(cuCtxDetach)

VS_EXPORT CUresult cuGreenCtxDestroy(CUgreenCtx ctx)
{
    VS_REAL_CUDA(cuGreenCtxDestroy);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(ctx));
    if (process && result == CUDA_SUCCESS)
        for (int gpu = 0; gpu < (int)VS_REGION_GPUS; gpu++)
            if (vs_device_of_gpu(process, gpu) >= 0)
                vs_measure_overhead(process, gpu, true);
    return result;
}

static bool primary_active(CUdevice device)
{
    unsigned int flags;
    int active = 0;
    __typeof__(&cuDevicePrimaryCtxGetState) ask = VS_REAL(cuDevicePrimaryCtxGetState);
    return ask && ask(device, &flags, &active) == CUDA_SUCCESS && active;
}

/* Retains a primary context that is not there yet. */
static CUresult first_retain(struct vs_process *process, CUcontext *ctx, CUdevice dev)
{
    VS_REAL_CUDA(cuDevicePrimaryCtxRetain);
    struct vs_bracket bracket;
    bool refused;
    CUcontext created = NULL;
    if (!making(process, dev, &bracket, &refused))
        return refused ? CUDA_ERROR_OUT_OF_MEMORY : real(ctx, dev);
    CUresult result = VS_INSIDE(real(ctx ? &created : NULL, dev));
    if (!made(process, &bracket, result)) {
        __typeof__(&cuDevicePrimaryCtxRelease) undo = VS_REAL(cuDevicePrimaryCtxRelease_v2);
        if (undo || (undo = VS_REAL(cuDevicePrimaryCtxRelease)) != NULL)
            VS_INSIDE(undo(dev));
        unmade(process, bracket.gpu, created);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (result == CUDA_SUCCESS) {
        *ctx = created;
        atomic_store(&process->primary[bracket.gpu], (uint64_t)(uintptr_t)created);
    }
    return result;
}

/* The primary context is made by whoever retains it first; later retains only count. One thread at a time, so that those
 * who come meanwhile need no room for a context of their own. */
VS_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext *ctx, CUdevice dev)
{
    VS_REAL_CUDA(cuDevicePrimaryCtxRetain);
    struct vs_process *process = vs_on();
    if (!process || primary_active(dev))
        return real(ctx, dev);
    vs_lock(&process->primary_lock);
    CUresult result = primary_active(dev) ? VS_INSIDE(real(ctx, dev)) : first_retain(process, ctx, dev);
    vs_unlock(&process->primary_lock);
    return result;
}

/* After a release or reset: if the primary context is gone, so is what lived in it. */
static void released(struct vs_process *process, CUdevice device, bool reset)
{
    int gpu = vs_gpu_of_device(process, device);
    if (gpu < 0 || (!reset && primary_active(device)))
        return;
    unmade(process, gpu, (CUcontext)(uintptr_t)atomic_load(&process->primary[gpu]));
}

#define PRIMARY_GONE(name, reset)                                                                                     \
    VS_EXPORT CUresult name(CUdevice dev)                                                                             \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct vs_process *process = vs_on();                                                                         \
        CUresult result = VS_INSIDE(real(dev));                                                                       \
        if (process && result == CUDA_SUCCESS)                                                                        \
            released(process, dev, reset);                                                                            \
        return result;                                                                                                \
    }

PRIMARY_GONE(cuDevicePrimaryCtxRelease, false)
PRIMARY_GONE(cuDevicePrimaryCtxRelease_v2, false)
PRIMARY_GONE(cuDevicePrimaryCtxReset, true)
PRIMARY_GONE(cuDevicePrimaryCtxReset_v2, true)
