/* Measures single driver calls, on any driver. scripts/bench-native runs it with and
 * without the interposer in turns.
 *
 *     bench init                       cuInit, microseconds
 *     bench context                    the first context, microseconds
 *     bench alloc LIVE SIZE ROUNDS     cuMemAlloc + cuMemFree with LIVE blocks alive
 *     bench free LIVE SIZE ROUNDS      cuMemFree alone, likewise
 *     bench async SIZE ROUNDS          cuMemAllocAsync + cuMemFreeAsync
 *     bench launch ROUNDS              cuLaunchKernel, the stream drained outside the clock
 *     bench graph ROUNDS               cuGraphLaunch of one kernel, likewise
 *     bench spawn PROGRAM ROUNDS       processor time of a short process, microseconds
 *
 * Prints the median in nanoseconds a call (microseconds where it says so). */
#define _GNU_SOURCE
#include "../paths/calls.h"

#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

enum { BATCH = 64, MOST_LIVE = 65536 };

extern char **environ;

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_median(double *times, size_t count)
{
    qsort(times, count, sizeof *times, ascending);
    printf("%.1f\n", times[count / 2]);
}

/* Ends the program unless the call worked. */
static void check(int result, const char *what)
{
    if (result != SUCCESS) {
        fprintf(stderr, "%s: %d\n", what, result);
        exit(1);
    }
}

static void start(void)
{
    void *context = NULL;
    if (calls_load() != 0)
        exit(2);
    check(cu.cuInit(0), "cuInit");
    check(cu.cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
    check(cu.cuCtxSetCurrent(context), "cuCtxSetCurrent");
}

static int bench_start(int context)
{
    void *made = NULL;
    double begin = now_ns(), middle;
    if (calls_load() != 0)
        return 2;
    begin = now_ns();
    check(cu.cuInit(0), "cuInit");
    middle = now_ns();
    check(cu.cuDevicePrimaryCtxRetain(&made, 0), "cuDevicePrimaryCtxRetain");
    printf("%.1f\n", (context ? now_ns() - middle : middle - begin) / 1e3);
    return 0;
}

/* Which parts of a round the clock runs for. */
enum timed { BOTH, FREE_ONLY };

static int bench_alloc(size_t live, size_t size, size_t rounds, enum timed timed)
{
    static dev_t_ptr kept[MOST_LIVE], batch[BATCH];
    double *times = calloc(rounds, sizeof *times);
    for (size_t i = 0; i < live && i < MOST_LIVE; i++)
        check(cu.cuMemAlloc_v2(&kept[i], size), "cuMemAlloc");
    for (size_t r = 0; r < rounds; r++) {
        double begin = now_ns();
        for (int i = 0; i < BATCH; i++)
            check(cu.cuMemAlloc_v2(&batch[i], size), "cuMemAlloc");
        if (timed == FREE_ONLY)
            begin = now_ns();
        for (int i = 0; i < BATCH; i++)
            check(cu.cuMemFree_v2(batch[i]), "cuMemFree");
        times[r] = (now_ns() - begin) / BATCH;
    }
    print_median(times, rounds);
    return 0;
}

static int bench_async(size_t size, size_t rounds)
{
    static dev_t_ptr batch[BATCH];
    double *times = calloc(rounds, sizeof *times);
    void *stream = NULL;
    check(cu.cuStreamCreate(&stream, 1), "cuStreamCreate");
    for (size_t r = 0; r < rounds; r++) {
        double begin = now_ns();
        for (int i = 0; i < BATCH; i++)
            check(cu.cuMemAllocAsync(&batch[i], size, stream), "cuMemAllocAsync");
        times[r] = (now_ns() - begin) / BATCH;
        for (int i = 0; i < BATCH; i++)
            check(cu.cuMemFreeAsync(batch[i], stream), "cuMemFreeAsync");
        if (r % 8 == 0)
            check(cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
    }
    print_median(times, rounds);
    return 0;
}

static void *idle_kernel(void)
{
    static const char code[] = ".version 7.0\n.target sm_75\n.address_size 64\n"
                               ".visible .entry idle()\n{\n ret;\n}\n";
    void *module = NULL, *function = NULL;
    check(cu.cuModuleLoadData(&module, code), "cuModuleLoadData");
    check(cu.cuModuleGetFunction(&function, module, "idle"), "cuModuleGetFunction");
    return function;
}

/* One kernel captured into a graph. */
static void *one_kernel_graph(void *function, void *stream)
{
    void *graph = NULL, *exec = NULL;
    check(cu.cuStreamBeginCapture_v2(stream, 0), "cuStreamBeginCapture");
    check(cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL), "cuLaunchKernel");
    check(cu.cuStreamEndCapture(stream, &graph), "cuStreamEndCapture");
    check(cu.cuGraphInstantiateWithFlags(&exec, graph, 0), "cuGraphInstantiate");
    return exec;
}

static int bench_launch(size_t rounds, int graph)
{
    double *times = calloc(rounds, sizeof *times);
    void *stream = NULL, *function = idle_kernel(), *exec = NULL;
    check(cu.cuStreamCreate(&stream, 1), "cuStreamCreate");
    if (graph)
        exec = one_kernel_graph(function, stream);
    for (size_t r = 0; r < rounds; r++) {
        double begin = now_ns();
        for (int i = 0; i < BATCH; i++)
            check(graph ? cu.cuGraphLaunch(exec, stream)
                        : cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL),
                  "launch");
        times[r] = (now_ns() - begin) / BATCH;
        check(cu.cuStreamSynchronize(stream), "cuStreamSynchronize");
    }
    print_median(times, rounds);
    return 0;
}

/* Prints microseconds of processor time: on a busy machine waiting says nothing. */
static int bench_spawn(char *program, size_t rounds)
{
    double *times = calloc(rounds, sizeof *times);
    char *arguments[] = {program, NULL};
    for (size_t r = 0; r < rounds; r++) {
        struct rusage used;
        pid_t pid;
        if (posix_spawn(&pid, program, NULL, NULL, arguments, environ) != 0)
            return 2;
        wait4(pid, NULL, 0, &used);
        times[r] = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
                   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
    }
    print_median(times, rounds);
    return 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    size_t numbers[3] = {0};
    for (int i = 2; i < argc && i < 5; i++)
        numbers[i - 2] = strtoull(argv[i], NULL, 10);
    if (strcmp(what, "init") == 0 || strcmp(what, "context") == 0)
        return bench_start(what[0] == 'c');
    if (strcmp(what, "spawn") == 0 && argc == 4)
        return bench_spawn(argv[2], numbers[1]);
    start();
    if (strcmp(what, "alloc") == 0 && argc == 5)
        return bench_alloc(numbers[0], numbers[1], numbers[2], BOTH);
    if (strcmp(what, "free") == 0 && argc == 5)
        return bench_alloc(numbers[0], numbers[1], numbers[2], FREE_ONLY);
    if (strcmp(what, "async") == 0 && argc == 4)
        return bench_async(numbers[0], numbers[1]);
    if ((strcmp(what, "launch") == 0 || strcmp(what, "graph") == 0) && argc == 3)
        return bench_launch(numbers[0], what[0] == 'g');
    fprintf(stderr, "usage: see the head of bench.c\n");
    return 2;
}
