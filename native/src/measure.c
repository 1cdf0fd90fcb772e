/* What the driver itself takes: contexts, code, heaps, stacks. Contract in driver.h.
 *
 * NVML's per-process figure is the only one that holds all of it, and only for this process. Where it is missing
 * (no NVML in the container, or a driver before 545 that lists PIDs of the host's namespace) the change of the whole
 * GPU's use is taken, bounded, since neighbours change it too; where even that is missing, an assumption. */
#define _GNU_SOURCE
#include "driver.h"

#include "charge.h"

#include <unistd.h>

#define LIST_LENGTH 1200
#define SHORT_LIST_LENGTH 256
#define MEASURE_AGAIN_AFTER UINT64_C(50000000) /* ns between measurements that nothing forces */
/* Of each context some megabytes (6 to 9 on an H100) are missing from the process's figure: the GPU's own figure tells
 * them. Neighbours may take memory in the same moment, so no more than this is believed. */
#define MOST_HIDDEN (UINT64_C(16) << 20)
#define LIKELY_HIDDEN (UINT64_C(6) << 20)
#define MOST_AT_START (UINT64_C(8) << 20) /* what cuInit takes of a GPU that nobody else uses: 3 MiB on an H100 */
#define NOT_AVAILABLE UINT64_MAX /* NVML's word for "this driver cannot say" */

/* Makes NVML usable for us. Its own reference count keeps it alive beside the program's use of it. */
static bool have_nvml(struct vs_process *process)
{
    if (process->nvml_state == 0) {
        process->nvml_state = 2;
        if (vs_real_open_nvml()) {
            __typeof__(&nvmlInitWithFlags) init = VS_REAL(nvmlInitWithFlags);
            /* Not with NVML_INIT_NO_ATTACH: GPUs cannot be found by their UUID then. */
            if (init && init(0) == NVML_SUCCESS)
                process->nvml_state = 1;
        }
    }
    return process->nvml_state == 1;
}

static nvmlDevice_t nvml_device(struct vs_process *process, int gpu)
{
    if (!have_nvml(process))
        return NULL;
    if (!process->nvml[gpu]) {
        char uuid[VS_UUID_TEXT];
        nvmlDevice_t device = NULL;
        __typeof__(&nvmlDeviceGetHandleByUUID) ask = VS_REAL(nvmlDeviceGetHandleByUUID);
        vs_uuid_format(process->uuid[gpu], uuid);
        if (ask && ask(uuid, &device) == NVML_SUCCESS)
            process->nvml[gpu] = device;
    }
    return process->nvml[gpu];
}

/* Reads the newest form of the process list that this driver has. False: none, or it does not fit. */
static bool read_list(nvmlDevice_t device, nvmlProcessInfo_v2_t *list, unsigned *count)
{
    __typeof__(&nvmlDeviceGetComputeRunningProcesses_v3) newest = VS_REAL(nvmlDeviceGetComputeRunningProcesses_v3);
    if (!newest)
        newest = VS_REAL(nvmlDeviceGetComputeRunningProcesses_v2);
    *count = LIST_LENGTH;
    if (newest)
        return newest(device, count, list) == NVML_SUCCESS;
    *count = SHORT_LIST_LENGTH;
    __typeof__(&nvmlDeviceGetComputeRunningProcesses) oldest = VS_REAL(nvmlDeviceGetComputeRunningProcesses);
    nvmlProcessInfo_v1_t short_list[SHORT_LIST_LENGTH];
    if (!oldest || oldest(device, count, short_list) != NVML_SUCCESS)
        return false;
    for (unsigned i = 0; i < *count; i++)
        list[i] = (nvmlProcessInfo_v2_t){.pid = short_list[i].pid, .usedGpuMemory = short_list[i].usedGpuMemory};
    return true;
}

/* The whole GPU's use. */
static bool measure_gpu(nvmlDevice_t device, uint64_t *bytes)
{
    nvmlMemory_t memory;
    __typeof__(&nvmlDeviceGetMemoryInfo) ask = VS_REAL(nvmlDeviceGetMemoryInfo);
    if (!ask || ask(device, &memory) != NVML_SUCCESS)
        return false;
    *bytes = memory.used;
    return true;
}

/* This process's figure. `listed` false: the list is there and we are not on it. */
static bool measure_self(nvmlDevice_t device, uint64_t *bytes, bool *listed)
{
    nvmlProcessInfo_v2_t *list = vs_own_pages.take(LIST_LENGTH * sizeof(*list)); /* stacks may be small */
    unsigned count, pid = (unsigned)getpid();
    *bytes = 0;
    *listed = false;
    bool read = list && read_list(device, list, &count);
    for (unsigned i = 0; read && i < count; i++)
        if (list[i].pid == pid) {
            read = list[i].usedGpuMemory != NOT_AVAILABLE;
            *bytes += list[i].usedGpuMemory;
            *listed = true;
        }
    if (list)
        vs_own_pages.give(list, LIST_LENGTH * sizeof(*list));
    return read;
}

bool vs_measure(struct vs_process *process, int gpu, uint64_t *bytes)
{
    bool listed;
    nvmlDevice_t device = gpu < 0 ? NULL : nvml_device(process, gpu);
    return device && VS_INSIDE(measure_self(device, bytes, &listed)) && listed;
}

uint64_t vs_own_overhead(struct vs_process *process, int gpu)
{
    int slot = vs_own_slot(process);
    return slot < 0 ? 0 : atomic_load(&vs_use(&process->view, (unsigned)slot, (unsigned)gpu)->overhead);
}

static void set_overhead(struct vs_process *process, int gpu, uint64_t bytes)
{
    int slot = vs_own_slot(process);
    if (slot >= 0)
        vs_overhead(&process->view, (unsigned)slot, (unsigned)gpu, bytes);
}

/* What the driver took of what heaps and stacks were promised is no longer charged twice. */
static void keep_promise(struct vs_process *process, int gpu, uint64_t taken)
{
    uint64_t promised = atomic_load(&process->promised[gpu]), kept = vs_min(promised, taken);
    if (kept && atomic_compare_exchange_strong(&process->promised[gpu], &promised, promised - kept))
        vs_uncharge(process, gpu, kept);
}

/* The process's use that the driver knows of: without what is only promised. */
static uint64_t taken_by_allocations(struct vs_process *process, int gpu)
{
    return vs_minus(vs_own_use(process, gpu), atomic_load(&process->promised[gpu]));
}

static void measure_locked(struct vs_process *process, int gpu, bool lower)
{
    uint64_t total;
    atomic_store(&process->dirty[gpu], 0);
    atomic_store(&process->measured[gpu], vs_now(true));
    if (!vs_measure(process, gpu, &total))
        return;
    uint64_t before = vs_own_overhead(process, gpu);
    uint64_t beyond = vs_minus(total + atomic_load(&process->hidden[gpu]), taken_by_allocations(process, gpu));
    /* Managed and borrowed memory may or may not be in the figure: then it can say too little, never too much. */
    bool certain = process->books.managed[gpu] == 0 && process->books.borrowed[gpu] == 0 &&
                   process->books.managed_pools == 0;
    if (beyond > before || (lower && certain))
        set_overhead(process, gpu, beyond);
    keep_promise(process, gpu, vs_minus(beyond, before));
}

void vs_measure_overhead(struct vs_process *process, int gpu, bool lower)
{
    if (gpu < 0 || vs_device_of_gpu(process, gpu) < 0)
        return;
    vs_lock(&process->measure_lock);
    measure_locked(process, gpu, lower);
    vs_unlock(&process->measure_lock);
}

void vs_measure_if_dirty(struct vs_process *process, int gpu, bool now)
{
    if (gpu < 0 || VS_LIKELY(!atomic_load_explicit(&process->dirty[gpu], memory_order_relaxed)))
        return;
    if (now || vs_now(true) - atomic_load(&process->measured[gpu]) > MEASURE_AGAIN_AFTER)
        vs_measure_overhead(process, gpu, false);
}

void vs_context_gone(struct vs_process *process, int gpu)
{
    uint64_t total, cost = atomic_load(&vs_gpu(&process->view, (unsigned)gpu)->context_cost);
    nvmlDevice_t device = nvml_device(process, gpu);
    bool listed = false;
    vs_lock(&process->measure_lock);
    uint64_t hidden = vs_minus(atomic_load(&process->hidden[gpu]), atomic_load(&process->hidden_each[gpu]));
    atomic_store(&process->hidden[gpu], hidden);
    if (device && VS_INSIDE(measure_self(device, &total, &listed)) && (listed || process->listed[gpu]))
        set_overhead(process, gpu, listed ? vs_minus(total + hidden, taken_by_allocations(process, gpu)) : 0);
    else
        set_overhead(process, gpu, vs_minus(vs_own_overhead(process, gpu), cost));
    vs_unlock(&process->measure_lock);
}

/* Reads what a bracket compares. */
static bool read_bracket(struct vs_process *process, int gpu, uint64_t *bytes, bool *own)
{
    nvmlDevice_t device = nvml_device(process, gpu);
    bool listed = false;
    *own = false;
    if (!device)
        return false;
    if (VS_INSIDE(measure_self(device, bytes, &listed)) && listed) {
        *own = process->listed[gpu] = true;
        return true;
    }
    return VS_INSIDE(measure_gpu(device, bytes));
}

bool vs_bracket_open(struct vs_process *process, struct vs_bracket *bracket, int gpu, uint64_t expected)
{
    *bracket = (struct vs_bracket){.gpu = gpu, .reserved = expected};
    if (expected && !vs_reserve(process, gpu, expected))
        return false;
    vs_lock(&process->measure_lock);
    bracket->measured = read_bracket(process, gpu, &bracket->before, &bracket->own);
    bracket->charged = taken_by_allocations(process, gpu);
    return true;
}

/* What a GPU has lost that no process has a context on; 0 if somebody has. */
static uint64_t start_cost(nvmlDevice_t device)
{
    nvmlMemory_v2_t memory = {.version = (unsigned)sizeof(memory) | 2u << 24};
    __typeof__(&nvmlDeviceGetMemoryInfo_v2) ask = VS_REAL(nvmlDeviceGetMemoryInfo_v2);
    if (!ask || ask(device, &memory) != NVML_SUCCESS || memory.used > MOST_AT_START)
        return 0;
    return memory.used;
}

/* What the rest of the container holds, and has asked for. */
static struct vs_sum others(struct vs_process *process, int gpu)
{
    struct vs_sum sum = vs_total(&process->view, (unsigned)gpu);
    int slot = vs_own_slot(process);
    if (slot < 0)
        return sum;
    struct vs_region_use *own = vs_use(&process->view, (unsigned)slot, (unsigned)gpu);
    uint64_t used = vs_plus(atomic_load(&own->used), atomic_load(&own->overhead));
    return (struct vs_sum){vs_minus(sum.used, used), vs_minus(sum.pending, atomic_load(&own->pending))};
}

void vs_bracket_context(struct vs_process *process, struct vs_bracket *bracket)
{
    nvmlDevice_t device = nvml_device(process, bracket->gpu);
    struct vs_sum rest = others(process, bracket->gpu);
    bracket->others = rest.used;
    bracket->alone = rest.pending == 0;
    bracket->whole = device && VS_INSIDE(measure_gpu(device, &bracket->gpu_before));
    bracket->start = device ? VS_INSIDE(start_cost(device)) : 0;
}

/* What a new context takes unseen: as the GPU's own figure says while the container is otherwise at rest; else what
 * was last found so, or is likely. */
static uint64_t believed(struct vs_process *process, const struct vs_bracket *bracket, uint64_t measured)
{
    _Atomic uint64_t *known = &vs_gpu(&process->view, (unsigned)bracket->gpu)->context_hidden;
    struct vs_sum rest = others(process, bracket->gpu);
    if (bracket->alone && rest.pending == 0 && rest.used == bracket->others && measured <= MOST_HIDDEN) {
        atomic_store(known, measured + 1);
        return measured;
    }
    uint64_t found = atomic_load(known);
    return found && found <= MOST_HIDDEN + 1 ? found - 1 : vs_min(measured, LIKELY_HIDDEN);
}

/* What the GPU lost to a new context beyond `own`, the change of this process's figure. */
static uint64_t hidden_growth(struct vs_process *process, const struct vs_bracket *bracket, uint64_t own)
{
    uint64_t after;
    nvmlDevice_t device = nvml_device(process, bracket->gpu);
    if (!bracket->whole || !device || !VS_INSIDE(measure_gpu(device, &after)))
        return 0;
    uint64_t hidden = believed(process, bracket, vs_minus(vs_minus(after, bracket->gpu_before), own));
    if (!bracket->own)
        hidden += bracket->start;
    atomic_fetch_add(&process->hidden[bracket->gpu], hidden);
    atomic_store(&process->hidden_each[bracket->gpu], hidden);
    return hidden;
}

/* What the driver took between the two readings, beyond what was charged meanwhile. */
static uint64_t growth(struct vs_process *process, const struct vs_bracket *bracket, uint64_t otherwise)
{
    uint64_t after, charged = taken_by_allocations(process, bracket->gpu);
    bool own;
    if (!bracket->measured || !read_bracket(process, bracket->gpu, &after, &own))
        return otherwise;
    if (own) { /* exact; also when the context just made is what put us on the list */
        uint64_t before = bracket->own ? vs_minus(bracket->before, bracket->charged) : vs_own_overhead(process, bracket->gpu);
        uint64_t more = vs_minus(vs_minus(after, charged), before);
        return more + hidden_growth(process, bracket, more + vs_minus(charged, bracket->charged));
    }
    return vs_min(vs_minus(vs_minus(after, bracket->before), vs_minus(charged, bracket->charged)), otherwise * 2);
}

bool vs_bracket_close(struct vs_process *process, struct vs_bracket *bracket, bool done, uint64_t otherwise,
                      uint64_t *grown)
{
    uint64_t more = done ? growth(process, bracket, otherwise) : 0;
    if (more)
        set_overhead(process, bracket->gpu, vs_own_overhead(process, bracket->gpu) + more);
    vs_settled(process, bracket->gpu, bracket->reserved, 0);
    vs_unlock(&process->measure_lock);
    if (grown)
        *grown = more;
    return !more || vs_total(&process->view, (unsigned)bracket->gpu).used <= vs_limit_of(process, bracket->gpu);
}
