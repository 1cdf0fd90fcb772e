/* Paths to stream-ordered memory and the memory of graphs. */
#include "take.h"

static int async_bytes(struct take *take, struct piece *piece, uint64_t size)
{
    dev_t_ptr at = 0;
    int result = cu.cuMemAllocAsync(&at, size, take->stream);
    piece->a = at;
    return result != SUCCESS ? result : cu.cuStreamSynchronize(take->stream);
}

static int async(struct take *take, struct piece *piece)
{
    return async_bytes(take, piece, take->chunk);
}

static void free_async(struct take *take, struct piece piece)
{
    cu.cuMemFreeAsync(piece.a, take->stream);
    cu.cuStreamSynchronize(take->stream);
}

/* The default pool is told to keep everything. */
static int keep_default_pool(struct take *take)
{
    uint64_t all = UINT64_MAX;
    int result = cu.cuDeviceGetDefaultMemPool(&take->handle, take->device);
    return result != SUCCESS ? result : cu.cuMemPoolSetAttribute(take->handle, 4, &all);
}

/* Takes from the pool and frees at once: the pool keeps ever more. Every second
 * step takes the same amount by cuMemAlloc, for good. */
static int kept_by_threshold(struct take *take, struct piece *piece)
{
    struct piece passing = {0};
    dev_t_ptr at = 0;
    int result = async_bytes(take, &passing, take->chunk * (take->steps / 2 + 1));
    if (result == SUCCESS)
        free_async(take, passing);
    if (result == SUCCESS && take->steps % 2 == 1) {
        result = cu.cuMemAlloc_v2(&at, take->chunk);
        piece->a = at;
    }
    return result;
}

static void free_if_any(struct take *take, struct piece piece)
{
    (void)take;
    if (piece.a)
        cu.cuMemFree_v2(piece.a);
}

static int make_pool(struct take *take)
{
    struct pool_properties properties = {.type = 1, .location = {1, take->device}};
    uint64_t all = UINT64_MAX;
    int result = cu.cuMemPoolCreate(&take->handle, &properties);
    return result != SUCCESS ? result : cu.cuMemPoolSetAttribute(take->handle, 4, &all);
}

static void trim_default_pool(struct take *take)
{
    cu.cuMemPoolTrimTo(take->handle, 0);
}

static void destroy_pool(struct take *take)
{
    cu.cuMemPoolDestroy(take->handle);
}

static int from_pool(struct take *take, struct piece *piece)
{
    dev_t_ptr at = 0;
    int result = cu.cuMemAllocFromPoolAsync(&at, take->chunk, take->handle, take->stream);
    piece->a = at;
    return result != SUCCESS ? result : cu.cuStreamSynchronize(take->stream);
}

/* Freed in stream order into a pool that keeps it: still taken from the device. Each
 * step asks the pool for one chunk more than the last. */
static int freed_async(struct take *take, struct piece *piece)
{
    dev_t_ptr at = 0;
    uint64_t size = take->chunk * (take->steps + 1);
    int result = cu.cuMemAllocFromPoolAsync(&at, size, take->handle, take->stream);
    piece->a = 0;
    if (result != SUCCESS)
        return result;
    cu.cuMemFreeAsync(at, take->stream);
    return cu.cuStreamSynchronize(take->stream);
}

static void nothing(struct take *take, struct piece piece)
{
    (void)take, (void)piece;
}

/* Instantiates and runs a graph, and keeps what it allocated. */
static int run_graph(struct take *take, void *graph, struct piece *piece)
{
    void *exec = NULL;
    int result = cu.cuGraphInstantiateWithFlags(&exec, graph, 0);
    if (result == SUCCESS) {
        result = cu.cuGraphLaunch(exec, take->stream);
        if (result == SUCCESS)
            result = cu.cuStreamSynchronize(take->stream);
        cu.cuGraphExecDestroy(exec);
    }
    cu.cuGraphDestroy(graph);
    piece->b = 0;
    return result;
}

static int graph_node(struct take *take, struct piece *piece)
{
    struct graph_alloc alloc = {.pool = {.type = 1, .location = {1, take->device}},
                                .size = take->chunk};
    void *graph = NULL, *node = NULL;
    int result = cu.cuGraphCreate(&graph, 0);
    if (result == SUCCESS)
        result = cu.cuGraphAddMemAllocNode(&node, graph, NULL, 0, &alloc);
    piece->a = alloc.pointer;
    return result != SUCCESS ? result : run_graph(take, graph, piece);
}

/* Uploaded but never launched: the memory is there already. */
static int graph_upload(struct take *take, struct piece *piece)
{
    struct graph_alloc alloc = {.pool = {.type = 1, .location = {1, take->device}},
                                .size = take->chunk};
    void *graph = NULL, *node = NULL, *exec = NULL;
    int result = cu.cuGraphCreate(&graph, 0);
    if (result == SUCCESS)
        result = cu.cuGraphAddMemAllocNode(&node, graph, NULL, 0, &alloc);
    if (result == SUCCESS)
        result = cu.cuGraphInstantiateWithFlags(&exec, graph, 0);
    if (result == SUCCESS)
        result = cu.cuGraphUpload(exec, take->stream);
    if (result == SUCCESS)
        result = cu.cuStreamSynchronize(take->stream);
    piece->a = (uintptr_t)exec;
    piece->b = (uintptr_t)graph;
    return result;
}

static void destroy_graph(struct take *take, struct piece piece)
{
    cu.cuGraphExecDestroy((void *)(uintptr_t)piece.a);
    cu.cuGraphDestroy((void *)(uintptr_t)piece.b);
    cu.cuDeviceGraphMemTrim(take->device);
}

/* cuMemAllocAsync on a capturing stream becomes such a node. */
static int captured(struct take *take, struct piece *piece)
{
    void *graph = NULL;
    dev_t_ptr at = 0;
    int result = cu.cuStreamBeginCapture_v2(take->stream, 0);
    if (result != SUCCESS)
        return result;
    result = cu.cuMemAllocAsync(&at, take->chunk, take->stream);
    int ended = cu.cuStreamEndCapture(take->stream, &graph);
    piece->a = at;
    if (result != SUCCESS || ended != SUCCESS)
        return result != SUCCESS ? result : ended;
    return run_graph(take, graph, piece);
}

/* What a graph allocated is freed like pool memory; then the device lets go. */
static void free_graph_memory(struct take *take, struct piece piece)
{
    free_async(take, piece);
    cu.cuDeviceGraphMemTrim(take->device);
}

const struct path paths_pooled[] = {
    {.name = "async", .step = async, .undo = free_async, .loose = true},
    {.name = "pool-threshold", .step = kept_by_threshold, .undo = free_if_any,
     .begin = keep_default_pool, .end = trim_default_pool, .loose = true},
    {.name = "pool", .step = from_pool, .undo = free_async, .begin = make_pool,
     .end = destroy_pool, .loose = true},
    {.name = "free-async", .step = freed_async, .undo = nothing, .begin = make_pool,
     .end = destroy_pool, .loose = true},
    {.name = "graph-node", .step = graph_node, .undo = free_graph_memory, .loose = true},
    {.name = "graph-upload", .step = graph_upload, .undo = destroy_graph, .shared = true},
    {.name = "captured-async", .step = captured, .undo = free_graph_memory, .loose = true},
    {0},
};
