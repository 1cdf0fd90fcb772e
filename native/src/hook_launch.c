/* Kernel launches. Where turns are taken, each waits for its own. A function's first launch may load its code and
 * enlarge the local memory that the driver keeps for every thread the GPU can hold; the latter is reserved before, and
 * refused where it does not fit. After its first launch a function costs a load and a comparison. */
#include "charge.h"
#include "driver.h"
#include "gate.h"
#include "hooks.h"

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

void vs_launches_forget(void)
{
    for (unsigned i = 0; i < SEEN; i++)
        atomic_store_explicit(&seen[i], 0, memory_order_relaxed);
}

/* What a first launch may make the driver take. */
struct first {
    struct vs_process *process;
    int gpu;
    CUcontext context;
    uint64_t local; /* bytes a thread, if more than ever before; else 0 */
    bool captured;  /* the driver takes it when the graph runs */
    struct vs_bracket bracket;
};

/* Bytes of local memory that a thread of this function takes; 0 if the driver cannot say. */
static int local_bytes(CUfunction function)
{
    int local = 0;
    __typeof__(&cuFuncGetAttribute) ask = VS_REAL(cuFuncGetAttribute);
    return ask && ask(&local, CU_FUNC_LOCAL_BYTES, function) == CUDA_SUCCESS && local > 0 ? local : 0;
}

static bool is_captured(CUstream stream, bool per_thread)
{
    int status = 0;
    __typeof__(&cuStreamIsCapturing) ask =
        per_thread ? VS_REAL(cuStreamIsCapturing_ptsz) : VS_REAL(cuStreamIsCapturing);
    return ask && ask(stream, &status) == CUDA_SUCCESS && status != 0;
}

/* Looks at a function before its first launch. False: its local memory does not fit. */
static bool first_begin(struct first *first, CUfunction function, CUstream stream, bool per_thread)
{
    *first = (struct first){.process = vs_on(), .gpu = VS_NO_CONTEXT};
    if (!first->process)
        return true;
    int mode = vs_quiet_begin();
    first->gpu = vs_current_gpu(first->process, &first->context);
    int local = first->gpu < 0 ? 0 : local_bytes(function);
    vs_quiet_end(mode);
    if (first->gpu < 0)
        return true;
    uint64_t before = vs_local_of(first->process, first->context);
    if ((uint64_t)local <= before)
        return true;
    first->local = (uint64_t)local;
    first->captured = is_captured(stream, per_thread);
    uint64_t more = (first->local - before) * vs_resident_threads(first->process, first->gpu);
    uint64_t promised = atomic_load(&first->process->promised[first->gpu]); /* a raised stack limit has paid for it */
    return vs_bracket_open(first->process, &first->bracket, first->gpu, vs_minus(more, promised));
}

/* Settles a first launch that may have enlarged local memory. */
static void local_end(const struct first *first, struct vs_bracket *bracket, bool done)
{
    uint64_t grown = 0;
    vs_bracket_close(first->process, bracket, done, first->captured ? 0 : bracket->reserved, &grown);
    if (done)
        vs_local_note(first->process, first->context, first->local);
    uint64_t rest = done && first->captured ? vs_minus(bracket->reserved, grown) : 0;
    if (!rest)
        return;
    vs_charge(first->process, first->gpu, rest);
    vs_promise(first->process, first->gpu, first->context, vs_promise_name(first->context, VS_FOR_LOCAL_MEMORY), rest);
}

static void first_end(struct first *first, CUfunction function, CUresult result)
{
    if (first->gpu >= 0)
        atomic_store_explicit(&first->process->dirty[first->gpu], 1, memory_order_relaxed);
    if (first->local)
        local_end(first, &first->bracket, result == CUDA_SUCCESS);
    if (result == CUDA_SUCCESS)
        atomic_store_explicit(place_of(function), (uintptr_t)function, memory_order_relaxed);
}

/* `on`: the stream; `per_thread`: whether stream 0 is the thread's own; `kind`: a name for this unit of work. */
#define LAUNCH(name, parameters, arguments, on, per_thread, kind)                                                     \
    static __attribute__((noinline)) CUresult slow_##name parameters                                                  \
    {                                                                                                                 \
        __typeof__(&name) real = vs_real.name;                                                                        \
        struct first first;                                                                                           \
        struct vs_gate gate;                                                                                          \
        CUresult result = CUDA_ERROR_OUT_OF_MEMORY;                                                                   \
        bool before = known(f);                                                                                       \
        vs_gate_enter(&gate, on, per_thread, kind);                                                                   \
        if (before || first_begin(&first, f, on, per_thread)) {                                                                       \
            result = real arguments;                                                                                  \
            if (!before)                                                                                              \
                first_end(&first, f, result);                                                                         \
        }                                                                                                             \
        vs_gate_leave(&gate, result);                                                                                 \
        return result;                                                                                                \
    }                                                                                                                 \
    VS_EXPORT CUresult name parameters                                                                                \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        return known(f) && vs_gate_stands_open() ? real arguments : slow_##name arguments;                            \
    }

#define GRID                                                                                                          \
    unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by, unsigned int bz,             \
        unsigned int shared, CUstream stream, void **params
#define GRID_KIND vs_gate_kind(f, (uint64_t)gx * gy * gz, (uint64_t)bx * by * bz)
#define CONFIG_KIND                                                                                                   \
    !config ? 1                                                                                                       \
            : vs_gate_kind(f, (uint64_t)config->gridDimX * config->gridDimY * config->gridDimZ,                       \
                           (uint64_t)config->blockDimX * config->blockDimY * config->blockDimZ)

LAUNCH(cuLaunchKernel, (CUfunction f, GRID, void **extra), (f, gx, gy, gz, bx, by, bz, shared, stream, params, extra),
       stream, false, GRID_KIND)
LAUNCH(cuLaunchKernel_ptsz, (CUfunction f, GRID, void **extra),
       (f, gx, gy, gz, bx, by, bz, shared, stream, params, extra), stream, true, GRID_KIND)
LAUNCH(cuLaunchKernelEx, (const CUlaunchConfig *config, CUfunction f, void **params, void **extra),
       (config, f, params, extra), config ? config->hStream : NULL, false, CONFIG_KIND)
LAUNCH(cuLaunchKernelEx_ptsz, (const CUlaunchConfig *config, CUfunction f, void **params, void **extra),
       (config, f, params, extra), config ? config->hStream : NULL, true, CONFIG_KIND)
LAUNCH(cuLaunchCooperativeKernel, (CUfunction f, GRID), (f, gx, gy, gz, bx, by, bz, shared, stream, params), stream,
       false, GRID_KIND)
LAUNCH(cuLaunchCooperativeKernel_ptsz, (CUfunction f, GRID), (f, gx, gy, gz, bx, by, bz, shared, stream, params),
       stream, true, GRID_KIND)
LAUNCH(cuLaunch, (CUfunction f), (f), NULL, false, vs_gate_kind(f, 1, 1))
LAUNCH(cuLaunchGrid, (CUfunction f, int width, int height), (f, width, height), NULL, false,
       vs_gate_kind(f, (uint64_t)width * (uint64_t)height, 1))
LAUNCH(cuLaunchGridAsync, (CUfunction f, int width, int height, CUstream stream), (f, width, height, stream), stream,
       false, vs_gate_kind(f, (uint64_t)width * (uint64_t)height, 1))

/* Makes the context of a stream current. False: it cannot be told. */
static bool enter_context_of(CUstream stream)
{
    CUcontext context = NULL;
    __typeof__(&cuStreamGetCtx) ask = VS_REAL(cuStreamGetCtx);
    __typeof__(&cuCtxPushCurrent_v2) push = VS_REAL(cuCtxPushCurrent_v2);
    return ask && push && VS_REAL(cuCtxPopCurrent_v2) && ask(stream, &context) == CUDA_SUCCESS && context &&
           push(context) == CUDA_SUCCESS;
}

static void leave_context(void)
{
    CUcontext ignored;
    vs_real.cuCtxPopCurrent_v2(&ignored);
}

/* Waits for the turn on one of several GPUs. */
static void enter_gate(struct vs_gate *gate, const CUDA_LAUNCH_PARAMS *launch)
{
    *gate = (struct vs_gate){.lane = NULL};
    if (!enter_context_of(launch->hStream))
        return;
    uint64_t blocks = (uint64_t)launch->gridDimX * launch->gridDimY * launch->gridDimZ;
    vs_gate_enter(gate, launch->hStream, false,
                  vs_gate_kind(launch->function, blocks,
                               (uint64_t)launch->blockDimX * launch->blockDimY * launch->blockDimZ));
    leave_context();
}

static void leave_gate(const struct vs_gate *gate, const CUDA_LAUNCH_PARAMS *launch, CUresult result)
{
    bool inside = gate->lane && enter_context_of(launch->hStream);
    vs_gate_leave(gate, result);
    if (inside)
        leave_context();
}

/* One kernel on several GPUs: waits for its turn on each. What it takes is measured afterwards. */
VS_EXPORT CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS *launches, unsigned int count,
                                                        unsigned int flags)
{
    VS_REAL_CUDA(cuLaunchCooperativeKernelMultiDevice);
    struct vs_gate gates[VS_REGION_GPUS];
    struct vs_process *process = vs_on();
    unsigned held = launches && !vs_gate_stands_open() ? (unsigned)vs_min(count, VS_REGION_GPUS) : 0;
    for (unsigned i = 0; i < held; i++)
        enter_gate(&gates[i], &launches[i]);
    CUresult result = real(launches, count, flags);
    for (unsigned i = 0; i < held; i++)
        leave_gate(&gates[i], &launches[i], result);
    for (int gpu = 0; process && gpu < (int)VS_REGION_GPUS; gpu++)
        if (vs_device_of_gpu(process, gpu) >= 0)
            atomic_store_explicit(&process->dirty[gpu], 1, memory_order_relaxed);
    return result;
}
