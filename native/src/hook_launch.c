/* Kernel launches. A function's first launch may load its code and enlarge the local memory that the driver keeps for
 * every thread the GPU can hold; the latter is reserved before, and refused where it does not fit. After its first
 * launch a function costs one load, one comparison and one jump. */
#include "charge.h"
#include "driver.h"

#define FIRST_STACK 1024u /* bytes a thread that every context has from its start */
#define SEEN 8192u

/* Functions that were launched before, by address. A collision costs a second look at a function, nothing else. */
static _Atomic uintptr_t seen[SEEN];

static _Atomic uintptr_t *place_of(CUfunction function)
{
    uintptr_t key = (uintptr_t)function;
    return &seen[(key >> 4 ^ key >> 15) % SEEN];
}

static inline bool known(CUfunction function)
{
    return VS_LIKELY(atomic_load_explicit(place_of(function), memory_order_relaxed) == (uintptr_t)function);
}

/* What a first launch may make the driver take. */
struct first {
    struct vs_process *process;
    int gpu;
    uint64_t local; /* bytes a thread, if more than ever before; else 0 */
    struct vs_bracket bracket;
};

/* Looks at a function before its first launch. False: its local memory does not fit. */
static bool first_begin(struct first *first, CUfunction function)
{
    CUcontext context;
    int local = 0;
    *first = (struct first){.process = vs_on(), .gpu = VS_NO_CONTEXT};
    if (!first->process)
        return true;
    first->gpu = vs_current_gpu(first->process, &context);
    if (first->gpu < 0)
        return true;
    __typeof__(&cuFuncGetAttribute) ask = VS_REAL(cuFuncGetAttribute);
    uint64_t before = vs_max(atomic_load(&first->process->local_bytes[first->gpu]), FIRST_STACK);
    if (!ask || ask(&local, CU_FUNC_LOCAL_BYTES, function) != CUDA_SUCCESS || local < 0 || (uint64_t)local <= before)
        return true;
    first->local = (uint64_t)local;
    uint64_t more = (first->local - before) * vs_resident_threads(first->process, first->gpu);
    uint64_t promised = atomic_load(&first->process->promised[first->gpu]); /* a raised stack limit has paid for it */
    return vs_bracket_open(first->process, &first->bracket, first->gpu, vs_minus(more, promised));
}

static void first_end(struct first *first, CUfunction function, CUresult result)
{
    if (first->gpu >= 0)
        atomic_store_explicit(&first->process->dirty[first->gpu], 1, memory_order_relaxed);
    if (first->local) {
        vs_bracket_close(first->process, &first->bracket, result == CUDA_SUCCESS, first->bracket.reserved, NULL);
        atomic_store(&first->process->local_bytes[first->gpu], first->local);
    }
    if (result == CUDA_SUCCESS)
        atomic_store_explicit(place_of(function), (uintptr_t)function, memory_order_relaxed);
}

#define LAUNCH(name, parameters, arguments)                                                                           \
    static __attribute__((noinline)) CUresult first_##name parameters                                                 \
    {                                                                                                                 \
        __typeof__(&name) real = vs_real.name;                                                                        \
        struct first first;                                                                                           \
        if (!first_begin(&first, f))                                                                                  \
            return CUDA_ERROR_OUT_OF_MEMORY;                                                                          \
        CUresult result = real arguments;                                                                             \
        first_end(&first, f, result);                                                                                 \
        return result;                                                                                                \
    }                                                                                                                 \
    VS_EXPORT CUresult name parameters                                                                                \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        return known(f) ? real arguments : first_##name arguments;                                                    \
    }

#define GRID                                                                                                          \
    unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz,             \
        unsigned int shared, CUstream stream, void **params

LAUNCH(cuLaunchKernel, (CUfunction f, GRID, void **extra), (f, gx, gy, gz, bx, by, bz, shared, stream, params, extra))
LAUNCH(cuLaunchKernel_ptsz, (CUfunction f, GRID, void **extra),
       (f, gx, gy, gz, bx, by, bz, shared, stream, params, extra))
LAUNCH(cuLaunchKernelEx, (const CUlaunchConfig *config, CUfunction f, void **params, void **extra),
       (config, f, params, extra))
LAUNCH(cuLaunchKernelEx_ptsz, (const CUlaunchConfig *config, CUfunction f, void **params, void **extra),
       (config, f, params, extra))
LAUNCH(cuLaunchCooperativeKernel, (CUfunction f, GRID), (f, gx, gy, gz, bx, by, bz, shared, stream, params))
LAUNCH(cuLaunchCooperativeKernel_ptsz, (CUfunction f, GRID), (f, gx, gy, gz, bx, by, bz, shared, stream, params))
LAUNCH(cuLaunch, (CUfunction f), (f))
LAUNCH(cuLaunchGrid, (CUfunction f, int width, int height), (f, width, height))
LAUNCH(cuLaunchGridAsync, (CUfunction f, int width, int height, CUstream stream), (f, width, height, stream))

/* One kernel on several GPUs: what they take is measured afterwards. */
VS_EXPORT CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS *launches, unsigned int count,
                                                        unsigned int flags)
{
    VS_REAL_CUDA(cuLaunchCooperativeKernelMultiDevice);
    struct vs_process *process = vs_on();
    CUresult result = real(launches, count, flags);
    for (int gpu = 0; process && gpu < (int)VS_REGION_GPUS; gpu++)
        if (vs_device_of_gpu(process, gpu) >= 0)
            atomic_store_explicit(&process->dirty[gpu], 1, memory_order_relaxed);
    return result;
}
