/* State of the fake driver, its lock, cuInit and the clock. */
#define _GNU_SOURCE
#include "pool.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fake_driver driver = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A child inherits memory but no GPU: every call but those of a fresh cuInit
 * fails if the parent had initialised, as with the real driver. */
static void after_fork(void)
{
    pthread_mutex_init(&driver.lock, NULL);
    books_forget();
    driver.forked = driver.forked || driver.ready;
}

__attribute__((constructor)) static void load(void)
{
    const char *nothing = getenv("FAKEGPU_NOTHING");
    driver.nothing = nothing && *nothing == '1';
    pthread_atfork(NULL, NULL, after_fork);
}

/* Finds the GPU that one CUDA_VISIBLE_DEVICES entry means: a number, a UUID or
 * the start of one. -1 if there is none. */
static int named_gpu(const char *entry, const struct fake_gpu *gpus, int count)
{
    if (isdigit((unsigned char)*entry)) {
        char *end;
        long number = strtol(entry, &end, 10);
        return *end == '\0' && number < count ? (int)number : -1;
    }
    for (int i = 0; i < count; i++)
        if (*entry && strncmp(gpus[i].uuid, entry, strlen(entry)) == 0)
            return i;
    return -1;
}

/* Orders the GPUs as CUDA_VISIBLE_DEVICES asks: entries up to the first one
 * that names no GPU, or none twice. */
static void order_gpus(int count)
{
    const char *named = getenv("CUDA_VISIBLE_DEVICES");
    char list[1024], *rest = list;
    driver.count = count;
    for (int i = 0; i < count; i++)
        driver.index[i] = i;
    if (!named)
        return;
    driver.count = 0;
    strncpy(list, named, sizeof list - 1);
    list[sizeof list - 1] = '\0';
    for (char *entry; (entry = strsep(&rest, ",")) && driver.count < count;) {
        int gpu = named_gpu(entry, driver.gpus, count);
        for (int i = 0; i < driver.count; i++)
            if (driver.index[i] == gpu)
                gpu = -1;
        if (gpu < 0)
            return;
        driver.index[driver.count++] = gpu;
    }
}

/* Starting CUDA on a GPU that nobody uses costs a little, before any context. */
static void take_start_costs(void)
{
    for (int device = 0; device < driver.count; device++) {
        int gpu = driver.index[device];
        uint64_t start = driver.nothing ? 0 : driver.gpus[gpu].start;
        if (start > 0 && books_used(gpu) == 0 && device_take(device, start))
            books_mine(gpu)->hidden += start;
    }
}

/* Starts the driver: reads the description, opens the books. */
API CUresult cuInit(unsigned flags)
{
    CUresult result = CUDA_SUCCESS;
    if (flags != 0)
        return CUDA_ERROR_INVALID_VALUE;
    pthread_mutex_lock(&driver.lock);
    if (driver.forked) {
        result = CUDA_ERROR_NOT_INITIALIZED;
    } else if (!driver.ready) {
        int count = fake_read_gpus(driver.gpus);
        order_gpus(count);
        if (driver.count == 0)
            result = CUDA_ERROR_NO_DEVICE;
        else if (books_open(driver.gpus, count) != 0)
            result = CUDA_ERROR_OPERATING_SYSTEM;
        else
            driver.ready = true;
        if (driver.ready)
            take_start_costs();
    }
    pthread_mutex_unlock(&driver.lock);
    return result;
}

CUresult driver_enter(void)
{
    pthread_mutex_lock(&driver.lock);
    if (driver.ready && !driver.forked)
        return CUDA_SUCCESS;
    pthread_mutex_unlock(&driver.lock);
    return CUDA_ERROR_NOT_INITIALIZED;
}

CUresult driver_enter_context(struct fake_context **context)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    *context = context_current();
    return *context ? CUDA_SUCCESS : driver_leave(CUDA_ERROR_INVALID_CONTEXT);
}

CUresult driver_leave(CUresult result)
{
    pthread_mutex_unlock(&driver.lock);
    return result;
}

uint64_t driver_next_id(void)
{
    return ++driver.ids;
}

uint64_t driver_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

void driver_sleep_until(uint64_t when)
{
    struct timespec at = {.tv_sec = (time_t)(when / 1000000000ull),
                          .tv_nsec = (long)(when % 1000000000ull)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
        continue;
}

void driver_synchronized(uint64_t when)
{
    driver_sleep_until(when);
    if (driver_enter() == CUDA_SUCCESS) {
        pools_settle();
        driver_leave(CUDA_SUCCESS);
    }
}

uint64_t device_capacity(int device)
{
    const struct fake_gpu *gpu = &driver.gpus[driver.index[device]];
    return gpu->memory > gpu->reserve ? gpu->memory - gpu->reserve : 0;
}

bool device_take(int device, uint64_t bytes)
{
    return bytes == 0 || books_take(driver.index[device], bytes, device_capacity(device));
}

void device_give(int device, uint64_t bytes)
{
    if (bytes > 0)
        books_give(driver.index[device], bytes);
}
