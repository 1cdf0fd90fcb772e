/* Paths to memory that no allocation call names: arrays, code, limits, contexts. */
#define _GNU_SOURCE
#include "take.h"

#include <stdio.h>
#include <stdlib.h>

enum { MIB = 1 << 20, FLOAT32 = 0x20, WIDTH = 4096, ROW = WIDTH * 16 /* four floats a texel */ };

static int array(struct take *take, struct piece *piece)
{
    struct array_description about = {WIDTH, take->chunk / ROW, FLOAT32, 4};
    void *made = NULL;
    int result = cu.cuArrayCreate_v2(&made, &about);
    piece->a = (uintptr_t)made;
    return result;
}

static int array3d(struct take *take, struct piece *piece)
{
    struct array3d_description about = {256, 32, take->chunk / (256 * 32 * 16), FLOAT32, 4, 0};
    void *made = NULL;
    int result = cu.cuArray3DCreate_v2(&made, &about);
    piece->a = (uintptr_t)made;
    return result;
}

static void destroy_array(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuArrayDestroy((void *)(uintptr_t)piece.a);
}

/* Two levels: the second is a quarter of the first. */
static int mipmap(struct take *take, struct piece *piece)
{
    struct array3d_description about = {WIDTH, take->chunk / ROW, 0, FLOAT32, 4, 0};
    void *made = NULL;
    int result = cu.cuMipmappedArrayCreate(&made, &about, 2);
    piece->a = (uintptr_t)made;
    return result;
}

static void destroy_mipmap(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuMipmappedArrayDestroy((void *)(uintptr_t)piece.a);
}

/* PTX with one variable of `size` bytes and an empty kernel. */
static char *code(uint64_t size)
{
    char *text = NULL;
    int made = asprintf(&text,
                        ".version 7.0\n.target sm_75\n.address_size 64\n"
                        ".visible .global .align 4 .b8 big[%llu];\n"
                        ".visible .entry idle()\n{\n ret;\n}\n",
                        (unsigned long long)size);
    return made < 0 ? NULL : text;
}

static int module(struct take *take, struct piece *piece)
{
    char *text = code(take->chunk);
    void *made = NULL;
    dev_t_ptr at = 0;
    size_t size = 0;
    int result = cu.cuModuleLoadData(&made, text);
    if (result == SUCCESS)
        result = cu.cuModuleGetGlobal_v2(&at, &size, made, "big");
    free(text);
    piece->a = (uintptr_t)made;
    return result;
}

static void unload_module(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuModuleUnload((void *)(uintptr_t)piece.a);
}

static int library(struct take *take, struct piece *piece)
{
    char *text = code(take->chunk);
    void *made = NULL;
    dev_t_ptr at = 0;
    size_t size = 0;
    int result = cu.cuLibraryLoadData(&made, text, NULL, NULL, 0, NULL, NULL, 0);
    if (result == SUCCESS)
        result = cu.cuLibraryGetGlobal(&at, &size, made, "big");
    if (result != SUCCESS && made)
        cu.cuLibraryUnload(made);
    free(text);
    piece->a = (uintptr_t)made;
    return result;
}

static void unload_library(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuLibraryUnload((void *)(uintptr_t)piece.a);
}

/* An empty kernel run to its end, so that the driver puts limits into effect. */
static int run_idle(struct take *take)
{
    void *function = NULL;
    char *text = take->handle ? NULL : code(4);
    int result = take->handle ? SUCCESS : cu.cuModuleLoadData(&take->handle, text);
    free(text);
    if (result == SUCCESS)
        result = cu.cuModuleGetFunction(&function, take->handle, "idle");
    if (result == SUCCESS)
        result = cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    return result != SUCCESS ? result : cu.cuCtxSynchronize();
}

/* Raises the device-side heap by a chunk. It costs nothing until code uses it. */
static int heap_limit(struct take *take, struct piece *piece)
{
    size_t now = 0;
    int result = cu.cuCtxGetLimit(&now, 2);
    piece->a = now;
    return result != SUCCESS ? result : cu.cuCtxSetLimit(2, now + take->chunk);
}

/* Loads and runs a kernel that calls malloc: now the heap is really there. Its code takes some memory too, and the slice
 * is full to the last piece: the heap gives that much way first. */
static int use_heap(struct take *take)
{
    size_t now = 0;
    int lowered = cu.cuCtxGetLimit(&now, 2);
    if (lowered == SUCCESS && now > 64 * MIB)
        lowered = cu.cuCtxSetLimit(2, now - 16 * MIB);
    if (lowered != SUCCESS)
        return lowered;
    static const char code[] =
        ".version 7.0\n.target sm_75\n.address_size 64\n"
        ".extern .func (.param .b64 result) malloc (.param .b64 size);\n"
        ".visible .entry idle()\n{\n .reg .b64 %rd<3>;\n mov.u64 %rd1, 16;\n"
        " {\n .param .b64 size;\n st.param.b64 [size], %rd1;\n .param .b64 result;\n"
        " call.uni (result), malloc, (size);\n ld.param.b64 %rd2, [result];\n }\n ret;\n}\n";
    int result = cu.cuModuleLoadData(&take->handle, code);
    return result != SUCCESS ? result : run_idle(take);
}

/* The heap's size is fixed now, so its context has to go. */
static void renew_context(struct take *take)
{
    void *context = NULL;
    cu.cuDevicePrimaryCtxReset_v2(take->device);
    cu.cuDevicePrimaryCtxRetain(&context, take->device);
    cu.cuCtxSetCurrent(context);
}

static void keep(struct take *take, struct piece piece)
{
    (void)take, (void)piece;
}

/* Raises every thread's stack by 512 bytes: some hundred MiB on a large GPU. */
static int stack_limit(struct take *take, struct piece *piece)
{
    size_t now = 0;
    int result = cu.cuCtxGetLimit(&now, 0);
    piece->a = now;
    if (result == SUCCESS)
        result = cu.cuCtxSetLimit(0, now + 512);
    return result != SUCCESS ? result : run_idle(take);
}

static void lower_stack(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuCtxSetLimit(0, piece.a);
}

/* A kernel with %u bytes of local memory a thread, too entangled to be optimised away. */
static const char deep_code[] =
    ".version 7.0\n.target sm_75\n.address_size 64\n"
    ".visible .entry deep(.param .u64 at)\n{\n"
    " .local .align 8 .b8 depot[%u];\n .reg .pred %%p<2>;\n"
    " .reg .b64 %%rd<5>;\n .reg .b32 %%r<3>;\n"
    " ld.param.u64 %%rd1, [at];\n mov.u64 %%rd2, depot;\n add.u64 %%rd3, %%rd2, %%rd1;\n"
    " mov.u32 %%r1, 7;\n st.local.u32 [%%rd3], %%r1;\n ld.local.u32 %%r2, [%%rd2];\n"
    " setp.ne.s32 %%p1, %%r2, 12345;\n @%%p1 bra done;\n"
    " cvta.to.global.u64 %%rd4, %%rd1;\n st.global.u32 [%%rd4], %%r2;\ndone:\n ret;\n}\n";

/* A kernel whose threads need more stack than any before: 512 bytes more each time.
 * The driver takes it for all threads of the GPU when the kernel is launched. */
static int local_memory(struct take *take, struct piece *piece)
{
    void *made = NULL, *function = NULL;
    char *text = NULL;
    int result = asprintf(&text, deep_code, 1024 + 512 * (take->steps + 1)) < 0;
    uint64_t offset = 0;
    void *parameters[] = {&offset};
    if (result == SUCCESS)
        result = cu.cuModuleLoadData(&made, text);
    if (result == SUCCESS)
        result = cu.cuModuleGetFunction(&function, made, "deep");
    if (result == SUCCESS)
        result = cu.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL);
    free(text);
    piece->a = (uintptr_t)made;
    return result != SUCCESS ? result : cu.cuCtxSynchronize();
}

static int green_context(struct take *take, struct piece *piece)
{
    struct resource all = {0};
    void *description = NULL, *made = NULL;
    int result = cu.cuDeviceGetDevResource(take->device, &all, 1);
    if (result == SUCCESS)
        result = cu.cuDevResourceGenerateDesc(&description, &all, 1);
    if (result == SUCCESS)
        result = cu.cuGreenCtxCreate(&made, description, take->device, 1);
    piece->a = (uintptr_t)made;
    return result;
}

static void destroy_green(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuGreenCtxDestroy((void *)(uintptr_t)piece.a);
}

/* Two kernels whose code the simulated driver loads at their first launch, 40 MiB each,
 * with an allocation between: the second comes right after somebody may have looked. */
static int launch_lazy(struct take *take)
{
    static const char code[] = ".version 7.0\n.target sm_75\n.address_size 64\n"
                               "// fakegpu: ns=1000 code=41943040\n"
                               ".visible .entry idle()\n{\n ret;\n}\n"
                               ".visible .entry again()\n{\n ret;\n}\n";
    void *again = NULL;
    dev_t_ptr at = 0;
    int result = cu.cuModuleLoadData(&take->handle, code);
    if (result == SUCCESS)
        result = cu.cuModuleGetFunction(&again, take->handle, "again");
    if (result == SUCCESS)
        result = run_idle(take);
    if (result == SUCCESS)
        result = cu.cuMemAlloc_v2(&at, 1);
    if (result == SUCCESS)
        result = cu.cuLaunchKernel(again, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
    cu.cuMemFree_v2(at);
    return result != SUCCESS ? result : cu.cuCtxSynchronize();
}

static int alloc_beside_code(struct take *take, struct piece *piece)
{
    dev_t_ptr at = 0;
    int result = cu.cuMemAlloc_v2(&at, take->chunk);
    piece->a = at;
    return result;
}

static void free_beside_code(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuMemFree_v2(piece.a);
}

static int context(struct take *take, struct piece *piece)
{
    void *made = NULL;
    int result = cu.cuCtxCreate_v2(&made, 0, take->device);
    if (result == SUCCESS)
        cu.cuCtxPopCurrent_v2(NULL);
    piece->a = (uintptr_t)made;
    return result;
}

static void destroy_context(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuCtxDestroy_v2((void *)(uintptr_t)piece.a);
}

const struct path paths_other[] = {
    {.name = "array", .step = array, .undo = destroy_array},
    {.name = "array-3d", .step = array3d, .undo = destroy_array},
    {.name = "mipmap", .step = mipmap, .undo = destroy_mipmap},
    {.name = "module-global", .step = module, .undo = unload_module, .loose = true},
    {.name = "library-global", .step = library, .undo = unload_library, .loose = true},
    {.name = "heap-limit", .step = heap_limit, .undo = keep, .last = use_heap, .end = renew_context,
     .loose = true},
    {.name = "stack-limit", .step = stack_limit, .undo = lower_stack, .loose = true},
    {.name = "lazy-code", .step = alloc_beside_code, .undo = free_beside_code, .begin = launch_lazy},
    {.name = "local-memory", .step = local_memory, .undo = unload_module, .end = renew_context,
     .loose = true},
    {.name = "green-contexts", .step = green_context, .undo = destroy_green, .loose = true},
    {.name = "contexts", .step = context, .undo = destroy_context, .loose = true},
    {0},
};
