/* Contract in turns.h. */
#include "turns.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LONG_NS "2500000000"

struct driver cu;
CUcontext context;

static void *library;
static CUfunction unit, quarter, lasting;
static char text[1024];

void need(int result, const char *what)
{
    if (result) {
        fprintf(stderr, "turns: %s: error %d\n", what, result);
        exit(1);
    }
}

double seconds_now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

void report(const char *name, uint64_t value)
{
    printf("%s=%llu\n", name, (unsigned long long)value);
    fflush(stdout);
}

int wait_for_a_line(void)
{
    int c = getchar();
    while (c != '\n' && c != EOF)
        c = getchar();
    return c == '\n';
}

static void *find(const char *name)
{
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "turns: the driver has no %s\n", name);
        exit(1);
    }
    return found;
}

void load_kernels(CUmodule *module)
{
    need(cu.load(module, text), "module");
    need(cu.function(&unit, *module, "unit"), "function");
    need(cu.function(&quarter, *module, "quarter"), "function");
    need(cu.function(&lasting, *module, "lasting"), "function");
}

void open_driver(uint64_t unit_ns)
{
    static const char *const names[] = {
        "cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuCtxSetCurrent", "cuCtxCreate_v2", "cuCtxDestroy_v2",
        "cuModuleLoadData", "cuModuleGetFunction", "cuStreamCreate", "cuStreamDestroy_v2", "cuStreamSynchronize",
        "cuStreamQuery", "cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphGetNodes",
        "cuGraphInstantiateWithFlags"};
    CUdevice device;
    CUmodule module;
    library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "turns: %s\n", dlerror());
        exit(1);
    }
    void **slot = (void **)&cu;
    for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++)
        slot[i] = find(names[i]);
    snprintf(text, sizeof(text),
             ".version 6.0\n.target sm_50\n.address_size 64\n"
             "// fakegpu: ns=%llu\n.visible .entry unit()\n{ ret; }\n"
             "// fakegpu: ns=%llu\n.visible .entry quarter()\n{ ret; }\n"
             "// fakegpu: ns=" LONG_NS "\n.visible .entry lasting()\n{ ret; }\n",
             (unsigned long long)unit_ns, (unsigned long long)unit_ns / 4);
    need(cu.init(0), "init");
    need(cu.device(&device, 0), "device");
    need(cu.retain(&context, device), "context");
    need(cu.current(context), "context");
    load_kernels(&module);
}

typedef int (*kernel_call)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, CUstream,
                           void **, void **);
typedef int (*cooperative_call)(CUfunction, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                                CUstream, void **);
typedef int (*ex_call)(const CUlaunchConfig *, CUfunction, void **, void **);
typedef int (*graph_call)(CUgraphExec, CUstream);
typedef int (*multi_call)(CUDA_LAUNCH_PARAMS *, unsigned, unsigned);
typedef int (*grid_call)(CUfunction, int, int);
typedef int (*grid_async_call)(CUfunction, int, int, CUstream);

static int kernel(const char *symbol, CUfunction function, CUstream stream)
{
    kernel_call call;
    *(void **)&call = find(symbol);
    return call(function, 1, 1, 1, 32, 1, 1, 0, stream, NULL, NULL);
}

static int cooperative(const char *symbol, CUstream stream)
{
    cooperative_call call;
    *(void **)&call = find(symbol);
    return call(unit, 1, 1, 1, 32, 1, 1, 0, stream, NULL);
}

static int extended(const char *symbol, CUstream stream)
{
    ex_call call;
    CUlaunchConfig config = {.gridDimX = 1, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 32, .blockDimY = 1,
                             .blockDimZ = 1, .hStream = stream};
    *(void **)&call = find(symbol);
    return call(&config, unit, NULL, NULL);
}

static int multi(CUstream stream)
{
    multi_call call;
    CUDA_LAUNCH_PARAMS one = {.function = unit, .gridDimX = 1, .gridDimY = 1, .gridDimZ = 1, .blockDimX = 32,
                              .blockDimY = 1, .blockDimZ = 1, .hStream = stream};
    *(void **)&call = find("cuLaunchCooperativeKernelMultiDevice");
    return call(&one, 1, 0);
}

static int graph_launch(const char *symbol, CUgraphExec graph, CUstream stream)
{
    graph_call call;
    *(void **)&call = find(symbol);
    return call(graph, stream);
}

static int grid(const char *symbol, CUstream stream)
{
    grid_call call;
    grid_async_call async;
    *(void **)&call = *(void **)&async = find(symbol);
    return strcmp(symbol, "cuLaunchGrid") == 0 ? call(unit, 1, 1) : async(unit, 1, 1, stream);
}

static int launch_by(const char *way, CUstream stream, CUgraphExec graph)
{
    if (strcmp(way, "kernel") == 0)
        return kernel("cuLaunchKernel", unit, stream);
    if (strcmp(way, "kernel_ptsz") == 0)
        return kernel("cuLaunchKernel_ptsz", unit, NULL); /* stream 0: the thread's own */
    if (strcmp(way, "long") == 0)
        return kernel("cuLaunchKernel", lasting, stream);
    if (strcmp(way, "short") == 0)
        return kernel("cuLaunchKernel", quarter, stream);
    if (strcmp(way, "cooperative") == 0)
        return cooperative("cuLaunchCooperativeKernel", stream);
    if (strcmp(way, "cooperative_ptsz") == 0)
        return cooperative("cuLaunchCooperativeKernel_ptsz", NULL);
    if (strcmp(way, "ex") == 0)
        return extended("cuLaunchKernelEx", stream);
    if (strcmp(way, "ex_ptsz") == 0)
        return extended("cuLaunchKernelEx_ptsz", NULL);
    if (strcmp(way, "graph") == 0)
        return graph_launch("cuGraphLaunch", graph, stream);
    if (strcmp(way, "graph_ptsz") == 0)
        return graph_launch("cuGraphLaunch_ptsz", graph, stream);
    if (strcmp(way, "multi") == 0)
        return multi(stream);
    if (strcmp(way, "grid") == 0)
        return grid("cuLaunchGrid", stream);
    if (strcmp(way, "grid_async") == 0)
        return grid("cuLaunchGridAsync", stream);
    fprintf(stderr, "turns: no way of launching is called %s\n", way);
    exit(2);
}

void launch(const char *way, CUstream stream, CUgraphExec graph) { need(launch_by(way, stream, graph), way); }

int try_launch(CUstream stream) { return kernel("cuLaunchKernel", unit, stream); }

CUgraphExec graph_of(CUstream stream, int kernels)
{
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    need(cu.capture(stream, 2), "begin of a capture");
    for (int i = 0; i < kernels; i++)
        need(kernel("cuLaunchKernel", quarter, stream), "captured launch");
    need(cu.captured(stream, &graph), "end of a capture");
    need(cu.instantiate(&exec, graph, 0), "instantiation");
    return exec;
}
