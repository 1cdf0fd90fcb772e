/* What processes have used of a GPU: utilisation, samples, accounting. */
#define _GNU_SOURCE
#include "nvml.h"

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
    enum nvml_result result = nvml_list(device, count, found, out != NULL);
    uint64_t now = nvml_now();
    if (result == NVML_SUCCESS && *count == 0)
        return NVML_NOT_FOUND;
    for (unsigned i = 0; result == NVML_SUCCESS && i < *count; i++)
        out[i] = (struct process_sample){.pid = found[i].pid, .stamp = now / 1000,
                                         .sm = share_since(&found[i], now)};
    return result;
}

/* The same with a version word. */
struct process_use {
    unsigned long long stamp;
    unsigned pid, sm, memory, encoder, decoder, jpeg, flow;
};
struct process_uses {
    unsigned version, count;
    unsigned long long last;
    struct process_use *list;
};

API enum nvml_result nvmlDeviceGetProcessesUtilizationInfo(nvml_device_t device,
                                                           struct process_uses *out)
{
    struct books_process found[BOOKS_ENTRIES];
    enum nvml_result result = nvml_list(device, &out->count, found, out->list != NULL);
    uint64_t now = nvml_now();
    for (unsigned i = 0; result == NVML_SUCCESS && i < out->count; i++)
        out->list[i] = (struct process_use){.stamp = now / 1000, .pid = found[i].pid,
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
    enum nvml_result result = nvml_list(device, count, found, pids != NULL);
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
    enum nvml_result result = nvml_list(device, &count, found, true);
    for (unsigned i = 0; result == NVML_SUCCESS && i < count; i++)
        if (found[i].pid == pid) {
            *out = (struct accounting){.peak = found[i].use.peak, .running = 1,
                                       .milliseconds = found[i].use.busy_ns / 1000000};
            return NVML_SUCCESS;
        }
    return result == NVML_SUCCESS ? NVML_NOT_FOUND : result;
}
