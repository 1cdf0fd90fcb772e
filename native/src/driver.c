/* Devices, contexts and streams: contract in driver.h. Measuring is in measure.c. */
#include "driver.h"

#include "charge.h"
#include "hooks.h"
#include "gates.h"
#include "pools.h"

#include <string.h>

static int look_up_device(struct vs_process *process, CUdevice device)
{
    CUuuid uuid;
    __typeof__(&cuDeviceGetUuid) newer = VS_REAL(cuDeviceGetUuid_v2), older = VS_REAL(cuDeviceGetUuid);
    if ((!newer || newer(&uuid, device) != CUDA_SUCCESS) && (!older || older(&uuid, device) != CUDA_SUCCESS))
        return VS_NO_CONTEXT;
    int gpu = vs_gpu_of_uuid(process, (const uint8_t *)uuid.bytes);
    size_t whole = 0;
    __typeof__(&cuDeviceTotalMem_v2) total = VS_REAL(cuDeviceTotalMem_v2);
    if (gpu >= 0 && total && total(&whole, device) == CUDA_SUCCESS)
        vs_set_whole(process, gpu, whole);
    return gpu;
}

int vs_gpu_of_device(struct vs_process *process, CUdevice device)
{
    if (device < 0 || device >= VS_DEVICES)
        return VS_UNKNOWN_GPU;
    int known = atomic_load_explicit(&process->device_gpu[device], memory_order_relaxed);
    if (VS_LIKELY(known > 0))
        return known - 1;
    int gpu = look_up_device(process, device);
    if (gpu >= 0) {
        atomic_store(&process->gpu_device[gpu], device + 1);
        atomic_store(&process->device_gpu[device], gpu + 1);
    }
    return gpu;
}

int vs_gpu_of_location(struct vs_process *process, const CUmemLocation *location)
{
    if (location->type == CU_LOCATION_DEVICE)
        return vs_gpu_of_device(process, location->id);
    if (location->type == CU_LOCATION_LOCALITY_DOMAIN)
        return vs_gpu_of_device(process, location->id & 0xff);
    return VS_NO_CONTEXT;
}

int vs_device_of_gpu(struct vs_process *process, int gpu)
{
    return gpu < 0 ? -1 : atomic_load_explicit(&process->gpu_device[gpu], memory_order_relaxed) - 1;
}

/* The GPU of the current context, asked of the driver. */
static int look_up_current(struct vs_process *process)
{
    CUdevice device;
    __typeof__(&cuCtxGetDevice) ask = VS_REAL(cuCtxGetDevice);
    return ask && ask(&device) == CUDA_SUCCESS ? vs_gpu_of_device(process, device) : VS_NO_CONTEXT;
}

static unsigned place_of(uint64_t context) { return (unsigned)(context >> 4 ^ context >> 12) % VS_CONTEXTS; }

int vs_current_gpu(struct vs_process *process, CUcontext *context)
{
    __typeof__(&cuCtxGetCurrent) current = VS_REAL(cuCtxGetCurrent);
    *context = NULL;
    if (VS_UNLIKELY(!current || current(context) != CUDA_SUCCESS || !*context))
        return VS_NO_CONTEXT;
    uint64_t key = (uint64_t)(uintptr_t)*context;
    unsigned place = place_of(key);
    if (VS_LIKELY(atomic_load_explicit(&process->contexts[place].context, memory_order_acquire) == key)) {
        int gpu = atomic_load_explicit(&process->contexts[place].gpu, memory_order_acquire);
        if (VS_LIKELY(atomic_load_explicit(&process->contexts[place].context, memory_order_relaxed) == key))
            return gpu;
    }
    int gpu = look_up_current(process);
    if (gpu >= 0) {
        atomic_store(&process->contexts[place].context, 0);
        atomic_store(&process->contexts[place].gpu, gpu);
        atomic_store(&process->contexts[place].context, key);
    }
    return gpu;
}

#define FIRST_STACK 1024u /* bytes a thread that every context has from its start */

uint64_t vs_local_of(struct vs_process *process, CUcontext context)
{
    uint64_t key = (uint64_t)(uintptr_t)context;
    unsigned place = place_of(key);
    bool known = atomic_load(&process->local[place].context) == key;
    return known ? vs_max(atomic_load(&process->local[place].bytes), FIRST_STACK) : FIRST_STACK;
}

void vs_local_note(struct vs_process *process, CUcontext context, uint64_t bytes)
{
    if (bytes > vs_local_of(process, context)) /* another thread may have been faster */
        vs_local_set(process, context, bytes);
}

void vs_local_set(struct vs_process *process, CUcontext context, uint64_t bytes)
{
    uint64_t key = (uint64_t)(uintptr_t)context;
    unsigned place = place_of(key);
    if (bytes == 0 && atomic_load(&process->local[place].context) != key)
        return;
    atomic_store(&process->local[place].bytes, bytes);
    atomic_store(&process->local[place].context, key);
}

void vs_forget_contexts(struct vs_process *process, CUcontext context)
{
    for (unsigned i = 0; i < VS_CONTEXTS; i++)
        atomic_store(&process->contexts[i].context, 0);
    vs_gates_forget(process, context);
}

int vs_stream_gpu(struct vs_process *process, CUstream stream)
{
    CUcontext context;
    int gpu = vs_current_gpu(process, &context);
    /* 0, 1 and 2 name the default streams of the current context; one GPU leaves no doubt either. */
    if ((uintptr_t)stream <= 2 || gpu < 0 || (process->known[0] && !process->known[1]))
        return gpu;
    __typeof__(&cuStreamGetCtx) ask = VS_REAL(cuStreamGetCtx);
    __typeof__(&cuCtxPushCurrent_v2) push = VS_REAL(cuCtxPushCurrent_v2);
    __typeof__(&cuCtxPopCurrent_v2) pop = VS_REAL(cuCtxPopCurrent_v2);
    CUcontext of_stream = NULL, ignored;
    if (!ask || !push || !pop || ask(stream, &of_stream) != CUDA_SUCCESS || of_stream == context || !of_stream)
        return gpu;
    if (push(of_stream) != CUDA_SUCCESS)
        return gpu;
    gpu = vs_current_gpu(process, &context);
    pop(&ignored);
    return gpu;
}

int vs_quiet_begin(void)
{
    int mode = CU_CAPTURE_RELAXED;
    __typeof__(&cuThreadExchangeStreamCaptureMode) exchange = VS_REAL(cuThreadExchangeStreamCaptureMode);
    return exchange && exchange(&mode) == CUDA_SUCCESS ? mode : -1;
}

void vs_quiet_end(int mode)
{
    __typeof__(&cuThreadExchangeStreamCaptureMode) exchange = VS_REAL(cuThreadExchangeStreamCaptureMode);
    if (mode >= 0 && exchange)
        exchange(&mode);
}

void vs_driver_relieve(struct vs_process *process, int gpu)
{
    int mode = vs_quiet_begin();
    vs_pools_trim(process, gpu);
    vs_measure_overhead(process, gpu, true);
    vs_adopt_orphans(process);
    vs_quiet_end(mode);
}
