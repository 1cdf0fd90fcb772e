/* Keeps a GPU busy and says how much it got done.
 *
 *   load calibrate NS BLOCKS              prints how many steps make a kernel last about NS
 *   load run STEPS BLOCKS PATTERN AT SECONDS [UNIT_NS [BIN_MS]]
 *       PATTERN  async: launches ahead; sync: waits after each; graphN: graphs of N kernels
 *       AT       CLOCK_MONOTONIC seconds at which measuring begins (0: in half a second, -1: with the first launch);
 *                work begins at once
 *       prints   units SECONDS longest-call-in-ms processor-seconds
 *       and with BIN_MS the CLOCK_MONOTONIC second at which measuring began and the units launched in each such time
 *
 * A unit is a kernel or a graph. A kernel computes for STEPS steps, so that it takes longer when it has to share. Uses
 * the driver alone, found as frameworks find it. BLOCKS is per multiprocessor. */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "../../include/cudaapi.h"

#define AHEAD 0.03 /* seconds of work that are launched ahead at most */
#define RING 4096
#define BINS 4096
#define THREADS 256

static const char *const KERNEL =
    ".version 6.0\n.target sm_50\n.address_size 64\n"
    ".visible .entry spin(.param .u64 out, .param .u64 steps)\n{\n"
    ".reg .u64 %rd<4>; .reg .f32 %f<2>; .reg .pred %p;\n"
    "ld.param.u64 %rd1, [out]; ld.param.u64 %rd2, [steps]; mov.f32 %f1, 0f3F800000;\n"
    "L: fma.rn.f32 %f1, %f1, %f1, %f1; sub.u64 %rd2, %rd2, 1; setp.ne.u64 %p, %rd2, 0; @%p bra L;\n"
    "st.global.f32 [%rd1], %f1; ret;\n}\n";

/* The calls that are made, looked up by name. */
static struct {
    int (*init)(unsigned);
    int (*device)(CUdevice *, int);
    int (*retain)(CUcontext *, CUdevice);
    int (*current)(CUcontext);
    int (*attribute)(int *, int, CUdevice);
    int (*load)(CUmodule *, const void *);
    int (*function)(CUfunction *, CUmodule, const char *);
    int (*launch)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream, void **,
                  void **);
    int (*alloc)(CUdeviceptr *, size_t);
    int (*stream)(CUstream *, unsigned);
    int (*wait)(CUstream);
    int (*event)(CUevent *, unsigned);
    int (*record)(CUevent, CUstream);
    int (*reached)(CUevent);
    int (*capture)(CUstream, int);
    int (*captured)(CUstream, CUgraph *);
    int (*instantiate)(CUgraphExec *, CUgraph, uint64_t);
    int (*launch_graph)(CUgraphExec, CUstream);
} cuda;

static CUfunction function;
static CUstream stream;
static CUdeviceptr out;
static uint64_t steps;
static unsigned blocks;
static CUgraphExec graph;
static struct { double start, width; unsigned count[BINS]; } trace;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static double processor_time(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e-6;
}

static void need(int result, const char *what)
{
    if (result) {
        fprintf(stderr, "load: %s: error %d\n", what, result);
        exit(1);
    }
}

static void *find(void *library, const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "load: the driver has no %s\n", name);
        exit(1);
    }
    return found;
}

static void open_driver(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "load: %s\n", dlerror());
        exit(1);
    }
    static const char *const names[] = {
        "cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuDeviceGetAttribute",
        "cuModuleLoadData", "cuModuleGetFunction", "cuLaunchKernel", "cuMemAlloc_v2", "cuStreamCreate",
        "cuStreamSynchronize", "cuEventCreate", "cuEventRecord", "cuEventSynchronize", "cuStreamBeginCapture_v2",
        "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphLaunch"};
    void **slot = (void **)&cuda;
    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
        slot[i] = find(library, names[i]);
}

static void launch_kernel(void)
{
    void *parameters[] = {&out, &steps};
    need(cuda.launch(function, blocks, 1, 1, THREADS, 1, 1, 0, stream, parameters, NULL), "launch");
}

static void launch_unit(void)
{
    if (graph)
        need(cuda.launch_graph(graph, stream), "graph launch");
    else
        launch_kernel();
}

static void prepare(unsigned per_processor)
{
    CUdevice device;
    CUcontext context;
    CUmodule module;
    int processors = 1;
    open_driver();
    need(cuda.init(0), "init");
    need(cuda.device(&device, 0), "device");
    need(cuda.retain(&context, device), "context");
    need(cuda.current(context), "context");
    need(cuda.attribute(&processors, CU_DEV_PROCESSORS, device), "attribute");
    need(cuda.load(&module, KERNEL), "module");
    need(cuda.function(&function, module, "spin"), "function");
    need(cuda.alloc(&out, 4096), "memory");
    need(cuda.stream(&stream, 1), "stream");
    blocks = (unsigned)processors * per_processor;
}

static double time_of(uint64_t count, unsigned times)
{
    steps = count;
    launch_kernel();
    need(cuda.wait(stream), "wait");
    double start = now();
    for (unsigned i = 0; i < times; i++)
        launch_kernel();
    need(cuda.wait(stream), "wait");
    return (now() - start) / times;
}

static void calibrate(double wanted)
{
    uint64_t count = 1000;
    for (int i = 0; i < 12; i++) {
        double took = time_of(count, wanted < 1e-3 ? 200 : wanted < 1e-2 ? 20 : 3);
        double next = (double)count * wanted / took;
        count = next < 1 ? 1 : next > (double)count * 50 ? count * 50 : (uint64_t)next;
    }
    printf("%llu\n", (unsigned long long)count);
}

static void capture(unsigned kernels)
{
    CUgraph made;
    need(cuda.capture(stream, 2), "capture");
    for (unsigned i = 0; i < kernels; i++)
        launch_kernel();
    need(cuda.captured(stream, &made), "capture");
    need(cuda.instantiate(&graph, made, 0), "graph");
}

static void note(double at)
{
    double bin = trace.width > 0 ? (at - trace.start) / trace.width : BINS;
    if (bin >= 0 && bin < BINS)
        trace.count[(unsigned)bin]++;
}

static void print_trace(double seconds)
{
    printf("%.6f", trace.start);
    for (unsigned i = 0; i < BINS && (i + 1) * trace.width < seconds + trace.width / 2; i++)
        printf(" %u", trace.count[i]);
    printf("\n");
}

/* Launches until `until`, never more than `depth` units ahead; how many were done. */
static uint64_t work(bool waits, double until, unsigned depth, double *longest)
{
    static CUevent event[RING];
    unsigned group = depth > 64 ? depth / 16 : 1, rings = depth / group ? depth / group : 1;
    uint64_t units = 0, groups = 0;
    while (now() < until) {
        for (unsigned i = 0; i < group; i++) {
            double start = now();
            launch_unit();
            double took = now() - start;
            *longest = took > *longest ? took : *longest;
            units++;
            note(start + took);
            if (waits)
                need(cuda.wait(stream), "wait");
        }
        CUevent *mark = &event[groups % rings];
        if (*mark)
            need(cuda.reached(*mark), "event");
        else
            need(cuda.event(mark, 1 | 2), "event"); /* a wait that sleeps, no time stamps */
        need(cuda.record(*mark, stream), "event");
        groups++;
    }
    need(cuda.wait(stream), "wait");
    return units;
}

int main(int count, char **arguments)
{
    if (count == 4 && strcmp(arguments[1], "calibrate") == 0) {
        prepare((unsigned)atoi(arguments[3]));
        calibrate(atof(arguments[2]) * 1e-9);
        return 0;
    }
    if (count < 7 || strcmp(arguments[1], "run") != 0)
        return fprintf(stderr, "usage: load calibrate NS BLOCKS | load run STEPS BLOCKS PATTERN AT SECONDS "
                               "[UNIT_NS [BIN_MS]]\n"), 2;
    prepare((unsigned)atoi(arguments[3]));
    steps = strtoull(arguments[2], NULL, 10);
    const char *pattern = arguments[4];
    if (strncmp(pattern, "graph", 5) == 0)
        capture((unsigned)atoi(pattern + 5));
    double unit = count > 7 ? atof(arguments[7]) * 1e-9 : 1e-3, longest = 0, ignored = 0;
    unsigned depth = unit * 2 > AHEAD ? 2 : (unsigned)(AHEAD / unit);
    depth = depth > 1000 ? 1000 : depth;
    bool waits = strcmp(pattern, "sync") == 0;
    double at = atof(arguments[5]), begin = at > 0 ? at : now() + (at < 0 ? 0 : 0.5);
    work(waits, begin, depth, &ignored);
    double start = now(), seconds = atof(arguments[6]), processor = processor_time();
    trace.start = start;
    trace.width = count > 8 ? atof(arguments[8]) * 1e-3 : 0;
    uint64_t units = work(waits, start + seconds, depth, &longest);
    printf("%llu %.6f %.3f %.6f\n", (unsigned long long)units, now() - start, longest * 1e3,
           processor_time() - processor);
    if (trace.width > 0)
        print_trace(seconds);
    return 0;
}
