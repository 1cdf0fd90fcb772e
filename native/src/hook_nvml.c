/* NVML's memory and process queries, as nvidia-smi and frameworks ask them: the slice, and the processes of this
 * container. The real call goes first, so that errors are NVML's own. Utilisation is in hook_usage.c. */
#define _GNU_SOURCE
#include "charge.h"
#include "driver.h"
#include "nvml.h"

#define NO_INSTANCE 0xffffffffu /* NVML's word for "no MIG" */

/* The GPU index of an NVML handle, asked of NVML once per handle. */
static int look_up(struct vs_process *process, nvmlDevice_t device)
{
    char text[96] = "";
    uint8_t uuid[16];
    nvmlMemory_t memory;
    __typeof__(&nvmlDeviceGetUUID) ask = VS_REAL(nvmlDeviceGetUUID);
    __typeof__(&nvmlDeviceGetMemoryInfo) size = VS_REAL(nvmlDeviceGetMemoryInfo);
    if (!ask || ask(device, text, sizeof(text)) != NVML_SUCCESS)
        return VS_NO_CONTEXT;
    size_t length = 0;
    while (length < sizeof(text) && text[length])
        length++;
    if (!vs_uuid_parse(text, length, uuid))
        return VS_NO_CONTEXT;
    int gpu = vs_gpu_of_uuid(process, uuid);
    if (gpu >= 0 && size && size(device, &memory) == NVML_SUCCESS)
        vs_set_whole(process, gpu, memory.total);
    return gpu;
}

int vs_gpu_of_nvml(struct vs_process *process, nvmlDevice_t device)
{
    uint64_t key = (uint64_t)(uintptr_t)device;
    for (unsigned i = 0; i < VS_REGION_GPUS; i++)
        if (key && atomic_load(&process->nvml_devices[i].device) == key)
            return atomic_load(&process->nvml_devices[i].gpu);
    int gpu = look_up(process, device);
    if (gpu >= 0) {
        atomic_store(&process->nvml_devices[gpu].gpu, gpu);
        atomic_store(&process->nvml_devices[gpu].device, key);
    }
    return gpu;
}

/* The slice's figures, given the GPU's. False: nothing to change. */
static bool slice(nvmlDevice_t device, uint64_t *total, uint64_t *used)
{
    struct vs_process *process = vs_on();
    int gpu = process ? vs_gpu_of_nvml(process, device) : VS_NO_CONTEXT;
    if (gpu == VS_NO_CONTEXT)
        return false;
    vs_refresh_limits(process, false);
    vs_reap_sometimes(process);
    uint64_t limit = vs_limit_of(process, gpu);
    if (limit >= *total)
        return false;
    *total = limit;
    *used = gpu < 0 ? 0 : vs_min(vs_in_use(process, gpu), limit);
    return true;
}

VS_EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory)
{
    VS_REAL_NVML(nvmlDeviceGetMemoryInfo);
    nvmlReturn_t result = real(device, memory);
    uint64_t total, used;
    if (result != NVML_SUCCESS || vs_nested)
        return result;
    total = memory->total;
    if (slice(device, &total, &used))
        *memory = (nvmlMemory_t){.total = total, .used = used, .free = total - used};
    return result;
}

VS_EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory)
{
    VS_REAL_NVML(nvmlDeviceGetMemoryInfo_v2);
    nvmlReturn_t result = real(device, memory);
    uint64_t total, used;
    if (result != NVML_SUCCESS || vs_nested)
        return result;
    total = memory->total;
    if (slice(device, &total, &used)) { /* what the driver reserves of the GPU is not this slice's */
        memory->total = total;
        memory->reserved = 0;
        memory->used = used;
        memory->free = total - used;
    }
    return result;
}

/* The next slot from `at` on that holds memory of a GPU and whose PID means something here. */
static bool next_user(struct vs_process *process, int gpu, unsigned *at, unsigned *pid, uint64_t *bytes)
{
    uint64_t pidns = vs_own_pidns(process);
    for (unsigned slots = vs_slots(&process->view); *at < slots;) {
        unsigned i = (*at)++;
        struct vs_region_slot *slot = vs_slot(&process->view, i);
        struct vs_region_use *use = vs_use(&process->view, i, (unsigned)gpu);
        *bytes = vs_plus(atomic_load(&use->used), atomic_load(&use->overhead));
        *pid = atomic_load(&slot->pid);
        if (vs_counting(&process->view, i) && atomic_load(&slot->pidns) == pidns && *bytes)
            return true;
    }
    return false;
}

bool vs_pid_is_ours(struct vs_process *process, unsigned pid)
{
    uint64_t pidns = vs_own_pidns(process);
    for (unsigned i = 0, slots = vs_slots(&process->view); i < slots; i++)
        if (vs_counting(&process->view, i) && atomic_load(&vs_slot(&process->view, i)->pid) == pid &&
            atomic_load(&vs_slot(&process->view, i)->pidns) == pidns)
            return true;
    return false;
}

/* Fills a process list of one of NVML's layouts. `fill` writes entry i; NULL list: count only. */
static nvmlReturn_t list_users(struct vs_process *process, int gpu, unsigned *count, void *list,
                               void (*fill)(void *list, unsigned i, unsigned pid, uint64_t bytes))
{
    unsigned room = list ? *count : 0, found = 0, at = 0, pid;
    uint64_t bytes;
    vs_reap_sometimes(process);
    while (next_user(process, gpu, &at, &pid, &bytes)) {
        if (found < room)
            fill(list, found, pid, bytes);
        found++;
    }
    *count = found;
    return found > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

static void fill_v1(void *list, unsigned i, unsigned pid, uint64_t bytes)
{
    ((nvmlProcessInfo_v1_t *)list)[i] = (nvmlProcessInfo_v1_t){.pid = pid, .usedGpuMemory = bytes};
}

static void fill_v2(void *list, unsigned i, unsigned pid, uint64_t bytes)
{
    ((nvmlProcessInfo_v2_t *)list)[i] = (nvmlProcessInfo_v2_t){
        .pid = pid, .usedGpuMemory = bytes, .gpuInstanceId = NO_INSTANCE, .computeInstanceId = NO_INSTANCE};
}

static void fill_detail(void *list, unsigned i, unsigned pid, uint64_t bytes)
{
    ((nvmlProcessDetail_v1_t *)list)[i] = (nvmlProcessDetail_v1_t){
        .pid = pid, .usedGpuMemory = bytes, .gpuInstanceId = NO_INSTANCE, .computeInstanceId = NO_INSTANCE};
}

/* Every list but that of compute processes is empty: graphics and MPS clients of others are not ours to see. */
#define PROCESS_LIST(name, type, fill, shown)                                                                         \
    VS_EXPORT nvmlReturn_t name(nvmlDevice_t device, unsigned int *count, type *infos)                                \
    {                                                                                                                 \
        VS_REAL_NVML(name);                                                                                           \
        struct vs_process *process = vs_on();                                                                         \
        int gpu = process ? vs_gpu_of_nvml(process, device) : VS_NO_CONTEXT;                                          \
        if (gpu == VS_NO_CONTEXT || !count)                                                                           \
            return real(device, count, infos);                                                                        \
        unsigned none = 0;                                                                                            \
        nvmlReturn_t result = VS_INSIDE(real(device, &none, NULL));                                                   \
        if (result != NVML_SUCCESS && result != NVML_ERROR_INSUFFICIENT_SIZE)                                         \
            return result;                                                                                            \
        if (!(shown) || gpu < 0) {                                                                                    \
            *count = 0;                                                                                               \
            return NVML_SUCCESS;                                                                                      \
        }                                                                                                             \
        return list_users(process, gpu, count, infos, fill);                                                          \
    }

PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses, nvmlProcessInfo_v1_t, fill_v1, true)
PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses_v2, nvmlProcessInfo_v2_t, fill_v2, true)
PROCESS_LIST(nvmlDeviceGetComputeRunningProcesses_v3, nvmlProcessInfo_v2_t, fill_v2, true)
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses, nvmlProcessInfo_v1_t, fill_v1, false)
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlProcessInfo_v2_t, fill_v2, false)
PROCESS_LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, nvmlProcessInfo_v2_t, fill_v2, false)
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses, nvmlProcessInfo_v1_t, fill_v1, false)
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvmlProcessInfo_v2_t, fill_v2, false)
PROCESS_LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, nvmlProcessInfo_v2_t, fill_v2, false)

VS_EXPORT nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device, nvmlProcessDetailList_v1_t *list)
{
    VS_REAL_NVML(nvmlDeviceGetRunningProcessDetailList);
    struct vs_process *process = vs_on();
    int gpu = process && list ? vs_gpu_of_nvml(process, device) : VS_NO_CONTEXT;
    if (gpu == VS_NO_CONTEXT)
        return real(device, list);
    nvmlProcessDetailList_v1_t probe = *list;
    probe.numProcArrayEntries = 0;
    probe.procArray = NULL;
    nvmlReturn_t result = VS_INSIDE(real(device, &probe));
    if (result != NVML_SUCCESS && result != NVML_ERROR_INSUFFICIENT_SIZE)
        return result;
    if (list->mode != 0 || gpu < 0) {
        list->numProcArrayEntries = 0;
        return NVML_SUCCESS;
    }
    return list_users(process, gpu, &list->numProcArrayEntries, list->procArray, fill_detail);
}
