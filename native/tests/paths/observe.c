/* Tells what NVML says about the first GPU: run outside the container's view.
 *
 *     observe [UUID]
 *
 * Prints "total=B used=B reserved=B processes=N", then a line "PID BYTES" each. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

struct memory { unsigned version; unsigned long long total, reserved, free, used; };
struct process { unsigned pid; unsigned long long bytes; unsigned gi, ci; };

enum { MOST = 1024 };

/* Finds a function or ends the program. */
static void *function(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found)
        fprintf(stderr, "NVML has no %s\n", name);
    return found;
}

#define FUNCTION(name, ...)                                                                        \
    int (*name)(__VA_ARGS__) = (int (*)(__VA_ARGS__))(uintptr_t)function(library, #name)

int main(int argc, char **argv)
{
    static struct process list[MOST];
    struct memory memory = {.version = sizeof memory | 2u << 24};
    unsigned count = MOST;
    void *device = NULL, *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    FUNCTION(nvmlInit_v2, void);
    FUNCTION(nvmlDeviceGetHandleByIndex_v2, unsigned, void **);
    FUNCTION(nvmlDeviceGetHandleByUUID, const char *, void **);
    FUNCTION(nvmlDeviceGetMemoryInfo_v2, void *, struct memory *);
    FUNCTION(nvmlDeviceGetComputeRunningProcesses_v3, void *, unsigned *, struct process *);
    int result = nvmlInit_v2();
    if (result == 0)
        result = argc > 1 ? nvmlDeviceGetHandleByUUID(argv[1], &device)
                          : nvmlDeviceGetHandleByIndex_v2(0, &device);
    if (result == 0)
        result = nvmlDeviceGetMemoryInfo_v2(device, &memory);
    if (result == 0)
        result = nvmlDeviceGetComputeRunningProcesses_v3(device, &count, list);
    if (result != 0) {
        fprintf(stderr, "NVML error %d\n", result);
        return 1;
    }
    printf("total=%llu used=%llu reserved=%llu processes=%u\n", memory.total, memory.used,
           memory.reserved, count);
    for (unsigned i = 0; i < count; i++)
        printf("%u %llu\n", list[i].pid, list[i].bytes);
    return 0;
}
