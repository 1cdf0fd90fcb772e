/* What the files of the fake libnvidia-ml share. */
#ifndef FAKEGPU_NVML_H
#define FAKEGPU_NVML_H

#include <pthread.h>
#include <stdbool.h>

#include "abi.h"
#include "books.h"
#include "description.h"

enum nvml_result {
    NVML_SUCCESS = 0,
    NVML_UNINITIALIZED = 1,
    NVML_INVALID_ARGUMENT = 2,
    NVML_NOT_SUPPORTED = 3,
    NVML_NOT_FOUND = 6,
    NVML_INSUFFICIENT_SIZE = 7,
    NVML_DRIVER_NOT_LOADED = 9,
    NVML_TIMEOUT = 10,
    NVML_VERSION_MISMATCH = 25,
    NVML_UNKNOWN = 999,
};

typedef struct nvml_device *nvml_device_t;

/* One GPU as a handle. */
struct nvml_device {
    int index;
    struct fake_gpu gpu;
    uint64_t asked_at, busy_then;   /* for utilisation since the last question */
};

struct nvml_state {
    pthread_mutex_t lock;
    unsigned users;                 /* nvmlInit calls less nvmlShutdown calls */
    int count;
    struct nvml_device devices[FAKE_MAX_GPUS];
};

extern struct nvml_state nvml;

/* NVML_SUCCESS if the library is up and the handle is one of ours. */
enum nvml_result nvml_check(nvml_device_t device);
/* Reads the processes on a device. Fills *count as NVML does, with how many there are;
 * NVML_INSUFFICIENT_SIZE if that is more than it said, or nothing is wanted. */
enum nvml_result nvml_list(nvml_device_t device, unsigned *count, struct books_process *out,
                           bool want);
/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t nvml_now(void);

#endif
