/* Instantiating and launching graphs, and the memory that they keep.
 *
 * Memory of allocation nodes is taken at upload or launch, in steps, from a store
 * that the device keeps for graphs until it is trimmed. What a graph frees itself is
 * there again for the next one. */
#define _GNU_SOURCE
#include "graph.h"
#include "limit.h"

#include "pool.h"

#include <stdlib.h>

/* Each allocation of a graph takes memory in steps of this size. */
static const uint64_t STEP = 32 * MIB;

/* A device's memory kept for graphs. */
static struct store { uint64_t reserved, used, reserved_high, used_high; } stores[FAKE_MAX_GPUS];

/* The most bytes that the nodes hold at one time, and on which device. */
static uint64_t needed_bytes(const struct fake_graph *graph, int *device)
{
    uint64_t now = 0, most = 0;
    for (const struct fake_node *node = graph->first; node; node = node->next) {
        if (node->kind == NODE_ALLOC) {
            now += rounded(node->size, STEP);
            *device = node->device;
        }
        most = now > most ? now : most;
        for (const struct fake_node *n = graph->first; node->kind == NODE_FREE && n; n = n->next)
            if (n->kind == NODE_ALLOC && n->pointer == node->pointer)
                now -= rounded(n->size, STEP);
    }
    return most;
}

static CUresult instantiate(CUgraphExec *out, CUgraph graph, uint64_t flags)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_graph *instance = graph ? graph_make() : NULL;
    if (!instance)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    graph_flatten(instance, graph);
    instance->flags = flags;
    instance->needed = needed_bytes(instance, &instance->device);
    *out = (CUgraphExec)instance;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph graph, unsigned long long flags)
{
    return instantiate(out, graph, flags);
}

API CUresult cuGraphInstantiate(CUgraphExec *out, CUgraph graph, CUgraphNode *node, char *log,
                                size_t room)
{
    (void)node, (void)log, (void)room;
    return instantiate(out, graph, 0);
}

API CUresult cuGraphInstantiate_v2(CUgraphExec *out, CUgraph graph, CUgraphNode *node, char *log,
                                   size_t room)
{
    return cuGraphInstantiate(out, graph, node, log, room);
}

/* Makes the store large enough for one run of the instance. */
static CUresult supply(const struct fake_graph *instance)
{
    struct store *store = &stores[instance->device];
    uint64_t wanted = store->used + instance->needed;
    if (wanted > store->reserved) {
        if (!device_take(instance->device, wanted - store->reserved))
            return CUDA_ERROR_OUT_OF_MEMORY;
        store->reserved = wanted;
    }
    if (wanted > store->used_high)
        store->used_high = wanted;
    if (store->reserved > store->reserved_high)
        store->reserved_high = store->reserved;
    return CUDA_SUCCESS;
}

API CUresult cuGraphUpload(CUgraphExec exec, CUstream stream)
{
    (void)stream;
    CUresult result = driver_enter();
    return result != CUDA_SUCCESS ? result : driver_leave(supply((struct fake_graph *)exec));
}

struct instantiate_parameters { uint64_t flags; CUstream upload; CUgraphNode node; int result; };

API CUresult cuGraphInstantiateWithParams(CUgraphExec *out, CUgraph graph,
                                          struct instantiate_parameters *parameters)
{
    enum { UPLOAD = 2 };
    CUresult result = instantiate(out, graph, parameters->flags);
    parameters->result = result == CUDA_SUCCESS ? 0 : 1;
    if (result == CUDA_SUCCESS && (parameters->flags & UPLOAD))
        result = cuGraphUpload(*out, parameters->upload);
    return result;
}

/* Makes the allocations that the graph leaves to the program, and frees others. */
static void run_memory(struct fake_graph *instance, struct fake_context *context)
{
    for (struct fake_node *node = instance->first; node; node = node->next) {
        struct fake_range *range = range_at(node->pointer);
        if (node->kind == NODE_FREE && range)
            range_end(range);
        if (node->kind != NODE_ALLOC || range)
            continue;
        stores[node->device].used += rounded(node->size, STEP);
        range_add((struct fake_range){.start = node->pointer, .size = node->size,
                                      .kind = RANGE_GRAPH, .context = context,
                                      .device = node->device});
    }
}

void graph_give(const struct fake_range *range)
{
    stores[range->device].used -= rounded(range->size, STEP);
}

/* Is something that the instance allocated still not freed? */
static bool holds(const struct fake_graph *instance)
{
    for (const struct fake_node *node = instance->first; node; node = node->next)
        if (node->kind == NODE_ALLOC && range_at(node->pointer))
            return true;
    return false;
}

static uint64_t deepest_stack(const struct fake_graph *graph)
{
    uint64_t most = 0;
    for (const struct fake_node *node = graph->first; node; node = node->next)
        most = node->stack > most ? node->stack : most;
    return most;
}

static uint64_t total_duration(const struct fake_graph *graph)
{
    uint64_t total = 0;
    for (const struct fake_node *node = graph->first; node; node = node->next)
        total += node->duration;
    return total;
}

API CUresult cuGraphLaunch(CUgraphExec exec, CUstream on)
{
    enum { AUTO_FREE = 1 };
    struct fake_graph *instance = (struct fake_graph *)exec;
    struct fake_context *context;
    if (__builtin_expect(driver.nothing, 0))
        return CUDA_SUCCESS;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_stream *stream = stream_of(on, context);
    if (!stream || !instance)
        return driver_leave(CUDA_ERROR_INVALID_HANDLE);
    if (stream->capturing) {
        graph_copy(stream->capturing, instance);
        return driver_leave(CUDA_SUCCESS);
    }
    if (holds(instance) && !(instance->flags & AUTO_FREE))
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    /* A kernel that needs more stack than there is makes the driver take it now. */
    uint64_t stack = deepest_stack(instance);
    if (stack > stream->context->stack)
        result = limit_stack(stream->context, stack);
    if (result == CUDA_SUCCESS)
        result = supply(instance);
    if (result != CUDA_SUCCESS)
        return driver_leave(result);
    run_memory(instance, stream->context);
    stream_work(stream, total_duration(instance));
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    struct fake_graph *instance = (struct fake_graph *)exec;
    CUresult result = instance ? driver_enter() : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    graph_end(instance);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuDeviceGraphMemTrim(CUdevice device)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    struct store *store = &stores[device];
    device_give(device, store->reserved - store->used);
    store->reserved = store->used;
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuDeviceGetGraphMemAttribute(CUdevice device, int attribute, void *value)
{
    CUresult result = driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    const struct store *store = &stores[device];
    const uint64_t values[] = {store->used, store->used_high, store->reserved,
                               store->reserved_high};
    if (attribute < 0 || attribute > 3)
        return driver_leave(CUDA_ERROR_INVALID_VALUE);
    *(uint64_t *)value = values[attribute];
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuDeviceSetGraphMemAttribute(CUdevice device, int attribute, void *value)
{
    (void)value;
    if (attribute == 1)
        stores[device].used_high = stores[device].used;
    if (attribute == 3)
        stores[device].reserved_high = stores[device].reserved;
    return CUDA_SUCCESS;
}
