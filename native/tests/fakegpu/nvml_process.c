/* Who uses a GPU: process lists, their utilisation, accounting. */
#define _GNU_SOURCE
#include "nvml.h"

struct process_v1 { unsigned pid; unsigned long long bytes; };
struct process_v2 { unsigned pid; unsigned long long bytes; unsigned gi, ci; };
struct process_sample {
    unsigned pid;
    unsigned long long stamp;      /* microseconds */
    unsigned sm, memory, encoder, decoder;
};
struct accounting {
    unsigned gpu, memory;
    unsigned long long peak, milliseconds, start;
    unsigned running, reserved[5];
};

/* Reads the list. Fills *count as NVML does: how many there are. */
static enum nvml_result list(nvml_device_t device, unsigned *count, struct books_process *out,
                             bool want)
{
    enum nvml_result checked = nvml_check(device);
    if (checked != NVML_SUCCESS)
        return checked;
    unsigned room = *count;
    *count = (unsigned)books_processes(device->index, out, BOOKS_ENTRIES);
    return *count > 0 && (!want || *count > room) ? NVML_INSUFFICIENT_SIZE : NVML_SUCCESS;
}

API enum nvml_result nvmlDeviceGetComputeRunningProcesses(nvml_device_t device, unsigned *count,
                                                          struct process_v1 *out)
{
    struct books_process found[BOOKS_ENTRIES];
    enum nvml_result result = list(device, count, found, out != NULL);
    for (unsigned i = 0; result == NVML_SUCCESS && i < *count; i++)
        out[i] = (struct process_v1){found[i].pid, found[i].use.bytes};
    return result;
}

API enum nvml_result nvmlDeviceGetComputeRunningProcesses_v3(nvml_device_t device, unsigned *count,
                                                             struct process_v2 *out)
{
    struct books_process found[BOOKS_ENTRIES];
    enum nvml_result result = list(device, count, found, out != NULL);
    for (unsigned i = 0; result == NVML_SUCCESS && i < *count; i++)
        out[i] = (struct process_v2){found[i].pid, found[i].use.bytes, ~0u, ~0u};
    return result;
}

API enum nvml_result nvmlDeviceGetComputeRunningProcesses_v2(nvml_device_t device, unsigned *count,
                                                             struct process_v2 *out)
{
    return nvmlDeviceGetComputeRunningProcesses_v3(device, count, out);
}

/* The list with a version word and one entry more: memory under confidential
 * computing, of which there is none. */
struct process_detail {
    unsigned pid;
    unsigned long long bytes;
    unsigned gi, ci;
    unsigned long long confidential;
};
struct process_details { unsigned version, mode, count; struct process_detail *list; };

API enum nvml_result nvmlDeviceGetRunningProcessDetailList(nvml_device_t device,
                                                           struct process_details *out)
{
    struct books_process found[BOOKS_ENTRIES];
    enum nvml_result result = list(device, &out->count, found, out->list != NULL);
    for (unsigned i = 0; result == NVML_SUCCESS && i < out->count; i++)
        out->list[i] = (struct process_detail){found[i].pid, found[i].use.bytes, ~0u, ~0u, 0};
    return result;
}

/* Nothing draws here, and there is no MPS server. */
API enum nvml_result nvmlDeviceGetGraphicsRunningProcesses_v3(nvml_device_t device, unsigned *count,
                                                              struct process_v2 *out)
{
    (void)out;
    *count = 0;
    return nvml_check(device);
}

API enum nvml_result nvmlDeviceGetGraphicsRunningProcesses_v2(nvml_device_t device, unsigned *count,
                                                              struct process_v2 *out)
{
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, out);
}

API enum nvml_result nvmlDeviceGetMPSComputeRunningProcesses_v3(nvml_device_t device,
                                                                unsigned *count,
                                                                struct process_v2 *out)
{
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, out);
}

API enum nvml_result nvmlDeviceGetGraphicsRunningProcesses(nvml_device_t device, unsigned *count,
                                                           struct process_v1 *out)
{
    return nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, (struct process_v2 *)out);
}

/* What each process was last seen with, to tell the use since then. */
static struct { unsigned pid; uint64_t at, busy; } seen[BOOKS_ENTRIES];

static unsigned share_since(const struct books_process *process, uint64_t now)
{
    int slot = 0;
    while (slot < BOOKS_ENTRIES - 1 && seen[slot].pid && seen[slot].pid != process->pid)
        slot++;
    uint64_t busy = process->use.busy_ns, percent = process->use.busy_until > now ? 100 : 0;
    if (seen[slot].pid == process->pid && now > seen[slot].at && busy >= seen[slot].busy)
        percent = (busy - seen[slot].busy) * 100 / (now - seen[slot].at);
    seen[slot].pid = process->pid;
    seen[slot].at = now;
    seen[slot].busy = busy;
    return percent > 100 ? 100 : (unsigned)percent;
}

API enum nvml_result nvmlDeviceGetProcessUtilization(nvml_device_t device,
                                                     struct process_sample *out, unsigned *count,
                                                     unsigned long long last)
{
    struct books_process found[BOOKS_ENTRIES];
    (void)last;
    enum nvml_result result = list(device, count, found, out != NULL);
    uint64_t now = nvml_now();
    if (result == NVML_SUCCESS && *count == 0)
        return NVML_NOT_FOUND;
    for (unsigned i = 0; result == NVML_SUCCESS && i < *count; i++)
        out[i] = (struct process_sample){.pid = found[i].pid, .stamp = now / 1000,
                                         .sm = share_since(&found[i], now)};
    return result;
}

struct sample { unsigned long long stamp, value; };

/* One sample: the GPU's use just now, in percent. */
API enum nvml_result nvmlDeviceGetSamples(nvml_device_t device, int type, unsigned long long last,
                                          int *value_type, unsigned *count, struct sample *out)
{
    enum { GPU_UTILISATION = 1, UNSIGNED = 1 };
    enum nvml_result result = nvml_check(device);
    (void)last;
    if (result != NVML_SUCCESS || type != GPU_UTILISATION)
        return result != NVML_SUCCESS ? result : NVML_NOT_SUPPORTED;
    *value_type = UNSIGNED;
    *count = 1;
    if (out)
        *out = (struct sample){nvml_now() / 1000,
                               books_busy_others(device->index, nvml_now()) > 0 ? 100 : 0};
    return NVML_SUCCESS;
}

struct field {
    unsigned id, scope;
    long long stamp, latency;
    int type, result;
    unsigned long long value;
};

/* Fields are asked for singly; none is simulated. */
API enum nvml_result nvmlDeviceGetFieldValues(nvml_device_t device, int count, struct field *fields)
{
    enum nvml_result result = nvml_check(device);
    for (int i = 0; result == NVML_SUCCESS && i < count; i++)
        fields[i].result = NVML_NOT_SUPPORTED;
    return result;
}

API enum nvml_result nvmlDeviceGetAccountingMode(nvml_device_t device, unsigned *mode)
{
    *mode = 1;
    return nvml_check(device);
}

API enum nvml_result nvmlDeviceGetAccountingPids(nvml_device_t device, unsigned *count,
                                                 unsigned *pids)
{
    struct books_process found[BOOKS_ENTRIES];
    enum nvml_result result = list(device, count, found, pids != NULL);
    for (unsigned i = 0; result == NVML_SUCCESS && i < *count; i++)
        pids[i] = found[i].pid;
    return result;
}

API enum nvml_result nvmlDeviceGetAccountingBufferSize(nvml_device_t device, unsigned *size)
{
    *size = BOOKS_ENTRIES;
    return nvml_check(device);
}

API enum nvml_result nvmlDeviceGetAccountingStats(nvml_device_t device, unsigned pid,
                                                  struct accounting *out)
{
    struct books_process found[BOOKS_ENTRIES];
    unsigned count = BOOKS_ENTRIES;
    enum nvml_result result = list(device, &count, found, true);
    for (unsigned i = 0; result == NVML_SUCCESS && i < count; i++)
        if (found[i].pid == pid) {
            *out = (struct accounting){.peak = found[i].use.peak, .running = 1,
                                       .milliseconds = found[i].use.busy_ns / 1000000};
            return NVML_SUCCESS;
        }
    return result == NVML_SUCCESS ? NVML_NOT_FOUND : result;
}
