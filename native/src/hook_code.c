/* Code, its globals, and the driver's heaps and stacks. What they take shows only afterwards: the GPU's free memory is
 * compared around the call, and if it fell, the process is measured. With lazy loading that happens at the first
 * use of a function or global, so those calls are watched too. */
#include "charge.h"
#include "driver.h"
#include "hooks.h"
#include "image.h"

struct watch {
    struct vs_process *process;
    int gpu;
    CUcontext context;
    size_t free; /* of the whole GPU, before */
};

static size_t free_memory(void)
{
    size_t free = 0, total;
    __typeof__(&cuMemGetInfo_v2) ask = VS_REAL(cuMemGetInfo_v2);
    int mode = vs_quiet_begin();
    bool told = ask && VS_INSIDE(ask(&free, &total)) == CUDA_SUCCESS;
    vs_quiet_end(mode);
    return told ? free : 0;
}

static void watch_begin(struct watch *watch)
{
    *watch = (struct watch){.process = vs_on(), .gpu = VS_NO_CONTEXT};
    if (!watch->process)
        return;
    watch->gpu = vs_current_gpu(watch->process, &watch->context);
    if (watch->gpu >= 0)
        watch->free = free_memory();
}

/* True: within the slice, or nothing was taken. */
static bool watch_end(const struct watch *watch)
{
    if (watch->gpu < 0 || free_memory() >= watch->free)
        return true;
    vs_measure_overhead(watch->process, watch->gpu, false);
    uint64_t used = vs_total(&watch->process->view, (unsigned)watch->gpu).used;
    uint64_t limit = vs_limit_of(watch->process, watch->gpu);
    if (used <= limit)
        return true;
    vs_refuse(watch->process, watch->gpu, used - limit);
    return false;
}

/* What was reserved for an image's globals: what the driver has not taken yet stays charged as a promise, under the
 * name of the image, until a measurement finds it or the image is unloaded. */
static void promise(const struct watch *watch, uint64_t globals, uint64_t overhead, uint64_t image)
{
    uint64_t rest = vs_minus(globals, vs_minus(vs_own_overhead(watch->process, watch->gpu), overhead));
    vs_settled(watch->process, watch->gpu, globals, rest);
    if (rest)
        vs_promise(watch->process, watch->gpu, watch->context, image, rest);
}

/* Begins a load: watches, and reserves the globals that the image declares. False: they do not fit. */
static bool load_begin(struct watch *watch, const void *image, uint64_t *globals, uint64_t *overhead)
{
    watch_begin(watch);
    *globals = *overhead = 0;
    if (watch->gpu < 0)
        return watch->gpu != VS_UNKNOWN_GPU;
    *globals = vs_image_globals(image);
    *globals = *globals >= VS_PAGE ? vs_page_up(*globals) : 0; /* smaller ones are left to the measurement */
    *overhead = vs_own_overhead(watch->process, watch->gpu);
    return !*globals || vs_reserve(watch->process, watch->gpu, *globals);
}

/* Ends it. False: the image does not fit and must be unloaded. */
static bool load_end(const struct watch *watch, CUresult result, uint64_t globals, uint64_t overhead, void *image)
{
    bool fits = result != CUDA_SUCCESS || watch_end(watch);
    if (globals && fits && result == CUDA_SUCCESS)
        promise(watch, globals, overhead, (uint64_t)(uintptr_t)image);
    else if (globals)
        vs_settled(watch->process, watch->gpu, globals, 0);
    return fits;
}

/* All loads look alike: `out` is written only if the image stays. */
#define LOAD(name, type, parameters, arguments, out, image, unload)                                                   \
    VS_EXPORT CUresult name parameters                                                                                \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct watch watch;                                                                                           \
        type loaded = NULL, *to = out;                                                                                \
        uint64_t globals, overhead;                                                                                   \
        if (!load_begin(&watch, image, &globals, &overhead))                                                          \
            return CUDA_ERROR_OUT_OF_MEMORY;                                                                          \
        out = to ? &loaded : NULL;                                                                                    \
        CUresult result = VS_INSIDE(real arguments);                                                                  \
        if (!load_end(&watch, result, globals, overhead, loaded)) {                                                   \
            __typeof__(&unload) undo = VS_REAL(unload);                                                               \
            if (undo)                                                                                                 \
                VS_INSIDE(undo(loaded));                                                                              \
            vs_measure_overhead(watch.process, watch.gpu, true);                                                      \
            return CUDA_ERROR_OUT_OF_MEMORY;                                                                          \
        }                                                                                                             \
        if (result == CUDA_SUCCESS)                                                                                   \
            *to = loaded;                                                                                             \
        return result;                                                                                                \
    }

LOAD(cuModuleLoad, CUmodule, (CUmodule * module, const char *file), (module, file), module, NULL, cuModuleUnload)
LOAD(cuModuleLoadData, CUmodule, (CUmodule * module, const void *image), (module, image), module, image,
     cuModuleUnload)
LOAD(cuModuleLoadDataEx, CUmodule,
     (CUmodule * module, const void *image, unsigned int count, int *options, void **values),
     (module, image, count, options, values), module, image, cuModuleUnload)
LOAD(cuModuleLoadFatBinary, CUmodule, (CUmodule * module, const void *image), (module, image), module, NULL,
     cuModuleUnload)
LOAD(cuLibraryLoadData, CUlibrary,
     (CUlibrary * library, const void *code, int *jit, void **jit_values, unsigned int jits, int *options,
      void **values, unsigned int count),
     (library, code, jit, jit_values, jits, options, values, count), library, code, cuLibraryUnload)
LOAD(cuLibraryLoadFromFile, CUlibrary,
     (CUlibrary * library, const char *file, int *jit, void **jit_values, unsigned int jits, int *options,
      void **values, unsigned int count),
     (library, file, jit, jit_values, jits, options, values, count), library, NULL, cuLibraryUnload)

/* Unloading gives back what was measured as overhead, and what was only promised. */
#define UNLOAD(name, type)                                                                                            \
    VS_EXPORT CUresult name(type loaded)                                                                              \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct watch watch;                                                                                           \
        watch_begin(&watch);                                                                                          \
        vs_launches_forget();                                                                                         \
        CUresult result = VS_INSIDE(real(loaded));                                                                    \
        if (watch.gpu < 0 || result != CUDA_SUCCESS)                                                                  \
            return result;                                                                                            \
        vs_promise_less(watch.process, (uint64_t)(uintptr_t)loaded, UINT64_MAX);                                      \
        vs_promises_trim(watch.process, watch.gpu);                                                                   \
        if (free_memory() > watch.free)                                                                               \
            vs_measure_overhead(watch.process, watch.gpu, true);                                                      \
        return result;                                                                                                \
    }

UNLOAD(cuModuleUnload, CUmodule)
UNLOAD(cuLibraryUnload, CUlibrary)

/* First uses under lazy loading: what they made the driver take is measured. It was promised, or is small. */
#define FIRST_USE(name, parameters, arguments)                                                                        \
    VS_EXPORT CUresult name parameters                                                                                \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct watch watch;                                                                                           \
        watch_begin(&watch);                                                                                          \
        CUresult result = VS_INSIDE(real arguments);                                                                  \
        watch_end(&watch);                                                                                            \
        return result;                                                                                                \
    }

FIRST_USE(cuLibraryGetModule, (CUmodule * module, CUlibrary library), (module, library))
FIRST_USE(cuModuleGetGlobal, (CUdeviceptr_v1 * ptr, unsigned int *size, CUmodule module, const char *name),
          (ptr, size, module, name))
FIRST_USE(cuModuleGetGlobal_v2, (CUdeviceptr * ptr, size_t *size, CUmodule module, const char *name),
          (ptr, size, module, name))
FIRST_USE(cuLibraryGetGlobal, (CUdeviceptr * ptr, size_t *size, CUlibrary library, const char *name),
          (ptr, size, library, name))
FIRST_USE(cuLibraryGetManaged, (CUdeviceptr * ptr, size_t *size, CUlibrary library, const char *name),
          (ptr, size, library, name))

/* Functions come by the thousand and are small: they are measured together, soon. */
#define GET_FUNCTION(name, parameters, arguments)                                                                     \
    VS_EXPORT CUresult name parameters                                                                                \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        CUresult result = real arguments;                                                                             \
        struct vs_process *process = vs_on();                                                                         \
        CUcontext context;                                                                                            \
        int gpu = process ? vs_current_gpu(process, &context) : VS_NO_CONTEXT;                                        \
        if (gpu >= 0)                                                                                                 \
            atomic_store_explicit(&process->dirty[gpu], 1, memory_order_relaxed);                                     \
        return result;                                                                                                \
    }

GET_FUNCTION(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char *name), (function, module, name))
GET_FUNCTION(cuKernelGetFunction, (CUfunction * function, CUkernel kernel), (function, kernel))
GET_FUNCTION(cuFuncLoad, (CUfunction function), (function))


#define FIRST_HEAP (UINT64_C(8) << 20) /* of every context from its start */
#define HEAP_STACK 544u                /* bytes a thread */

uint64_t vs_resident_threads(struct vs_process *process, int gpu)
{
    int processors = 0, threads = 0, device = vs_device_of_gpu(process, gpu);
    __typeof__(&cuDeviceGetAttribute) ask = VS_REAL(cuDeviceGetAttribute);
    if (!ask || device < 0 || ask(&processors, CU_DEV_PROCESSORS, device) != CUDA_SUCCESS ||
        ask(&threads, CU_DEV_THREADS_PER_PROCESSOR, device) != CUDA_SUCCESS || processors < 1 || threads < 1)
        return 0;
    return (uint64_t)processors * (uint64_t)threads;
}

/* What raising a limit may make the driver take, at once or at the next launch. */
static uint64_t limit_costs(struct vs_process *process, int gpu, int limit, size_t before, size_t value)
{
    uint64_t more = vs_minus(value, before);
    if (limit == CU_LIMIT_STACK) {
        uint64_t threads = vs_resident_threads(process, gpu);
        return threads && more > UINT64_MAX / threads ? UINT64_MAX : more * threads;
    }
    /* Code that calls malloc also makes the driver enlarge every thread's stack (measured on an H100). */
    if (limit == CU_LIMIT_HEAP && more && before <= FIRST_HEAP)
        return vs_plus(more, vs_resident_threads(process, gpu) * HEAP_STACK);
    return limit == CU_LIMIT_HEAP || limit == CU_LIMIT_PRINTF ? more : 0;
}

/* Sets a limit that takes nothing. That must work with the slice full, so nothing is reserved for it. */
static CUresult lower_limit(struct vs_process *process, int gpu, CUcontext context, int limit, size_t before, size_t value)
{
    VS_REAL_CUDA(cuCtxSetLimit);
    CUresult result = VS_INSIDE(real(limit, value));
    uint64_t cheaper = limit_costs(process, gpu, limit, value, before);
    if (result == CUDA_SUCCESS && limit > CU_LIMIT_HEAP) /* device-runtime limits: what they take is the driver's secret */
        atomic_store(&process->dirty[gpu], 1);
    if (result == CUDA_SUCCESS && limit == CU_LIMIT_STACK)
        vs_local_set(process, context, value);
    if (result == CUDA_SUCCESS && cheaper) {
        vs_promise_less(process, vs_promise_name(context, limit), cheaper);
        vs_promises_trim(process, gpu);
        vs_measure_overhead(process, gpu, true);
    }
    return result;
}

VS_EXPORT CUresult cuCtxSetLimit(int limit, size_t value)
{
    VS_REAL_CUDA(cuCtxSetLimit);
    struct vs_process *process = vs_on();
    CUcontext context;
    int gpu = process ? vs_current_gpu(process, &context) : VS_NO_CONTEXT;
    size_t before = 0;
    __typeof__(&cuCtxGetLimit) ask = VS_REAL(cuCtxGetLimit);
    if (gpu < 0 || !ask || ask(&before, limit) != CUDA_SUCCESS)
        return real(limit, value);
    uint64_t costs = limit_costs(process, gpu, limit, before, value), grown = 0;
    if (!costs)
        return lower_limit(process, gpu, context, limit, before, value);
    struct vs_bracket bracket;
    if (!vs_bracket_open(process, &bracket, gpu, costs))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = VS_INSIDE(real(limit, value));
    bool fits = vs_bracket_close(process, &bracket, result == CUDA_SUCCESS, costs, &grown);
    if (result != CUDA_SUCCESS)
        return result;
    if (!fits) {
        VS_INSIDE(real(limit, before));
        vs_measure_overhead(process, gpu, true);
        vs_refuse(process, gpu, grown);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    if (limit == CU_LIMIT_STACK)
        vs_local_set(process, context, value); /* kernels that need no more stack than this make the driver take none */
    /* What was not taken at once is charged until it is: the driver takes it at a launch, which cannot be refused. */
    if (vs_minus(costs, grown)) {
        vs_charge(process, gpu, vs_minus(costs, grown));
        vs_promise(process, gpu, context, vs_promise_name(context, limit), vs_minus(costs, grown));
    }
    return result;
}
