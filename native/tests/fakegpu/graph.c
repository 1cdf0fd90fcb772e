/* Building graphs. */
#define _GNU_SOURCE
#include "graph.h"

#include "module.h"

#include <stdlib.h>
#include <string.h>

struct fake_graph *graph_make(void)
{
    return calloc(1, sizeof(struct fake_graph));
}

void graph_end(struct fake_graph *graph)
{
    for (struct fake_node *node = graph->first, *next; node; node = next) {
        next = node->next;
        if (node->kind == NODE_CHILD)
            graph_end(node->child);
        free(node);
    }
    free(graph);
}

struct fake_node *graph_add(struct fake_graph *graph, struct fake_node node)
{
    struct fake_node *kept = malloc(sizeof *kept);
    if (!kept)
        return NULL;
    *kept = node;
    kept->next = NULL;
    if (graph->last)
        graph->last->next = kept;
    else
        graph->first = kept;
    graph->last = kept;
    graph->count++;
    return kept;
}

/* Adds a node and hands it out. */
static CUresult add(struct fake_graph *graph, struct fake_node node, struct fake_node **out)
{
    struct fake_node *kept = graph_add(graph, node);
    if (kept && out)
        *out = kept;
    return kept ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult graph_add_kernel(struct fake_graph *graph, uint64_t duration, uint64_t stack,
                          struct fake_node **out)
{
    struct fake_node node = {.kind = NODE_KERNEL, .duration = duration, .stack = stack};
    return add(graph, node, out);
}

/* The address is fixed now; memory comes behind it when the graph runs. */
CUresult graph_add_alloc(struct fake_graph *graph, int device, uint64_t size, CUdeviceptr *pointer,
                         struct fake_node **out)
{
    *pointer = pages_map(size);
    struct fake_node node = {.kind = NODE_ALLOC, .pointer = *pointer, .size = size,
                             .device = device};
    return *pointer ? add(graph, node, out) : CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult graph_add_free(struct fake_graph *graph, CUdeviceptr pointer, struct fake_node **out)
{
    return add(graph, (struct fake_node){.kind = NODE_FREE, .pointer = pointer}, out);
}

void graph_copy(struct fake_graph *to, const struct fake_graph *from)
{
    for (const struct fake_node *node = from->first; node; node = node->next) {
        struct fake_node copy = *node;
        if (copy.kind == NODE_CHILD) {
            copy.child = graph_make();
            graph_copy(copy.child, node->child);
        }
        graph_add(to, copy);
    }
}

void graph_flatten(struct fake_graph *to, const struct fake_graph *from)
{
    for (const struct fake_node *node = from->first; node; node = node->next) {
        if (node->kind == NODE_CHILD)
            graph_flatten(to, node->child);
        else
            graph_add(to, *node);
    }
}

API CUresult cuGraphCreate(CUgraph *out, unsigned flags)
{
    CUresult result = flags ? CUDA_ERROR_INVALID_VALUE : driver_enter();
    if (result != CUDA_SUCCESS)
        return result;
    *out = graph_make();
    return driver_leave(*out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

API CUresult cuGraphDestroy(CUgraph graph)
{
    CUresult result = graph ? driver_enter() : CUDA_ERROR_INVALID_VALUE;
    if (result != CUDA_SUCCESS)
        return result;
    graph_end(graph);
    return driver_leave(CUDA_SUCCESS);
}

API CUresult cuGraphClone(CUgraph *out, CUgraph graph)
{
    CUresult result = cuGraphCreate(out, 0);
    if (result == CUDA_SUCCESS)
        graph_copy(*out, graph);
    return result;
}

API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count)
{
    size_t room = *count;
    *count = graph->count;
    if (!nodes)
        return CUDA_SUCCESS;
    struct fake_node *node = graph->first;
    for (size_t i = 0; i < room && node; i++, node = node->next)
        nodes[i] = node;
    return CUDA_SUCCESS;
}

API CUresult cuGraphNodeGetType(CUgraphNode node, int *type)
{
    static const int numbers[] = {[NODE_KERNEL] = 0, [NODE_ALLOC] = 10, [NODE_FREE] = 11,
                                  [NODE_CHILD] = 4, [NODE_EMPTY] = 5};
    *type = numbers[node->kind];
    return CUDA_SUCCESS;
}

struct kernel_parameters {
    CUfunction function;
    unsigned grid[3], block[3], shared;
    void **parameters, **extra;
    CUkernel kernel;           /* not in the first form */
    CUcontext context;
};

static uint64_t duration_of(const struct kernel_parameters *kernel, CUfunction function)
{
    uint64_t blocks = (uint64_t)kernel->grid[0] * kernel->grid[1] * kernel->grid[2];
    return function->fixed_ns + function->block_ns * blocks;
}

API CUresult cuGraphAddKernelNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                                  size_t count, const struct kernel_parameters *kernel)
{
    (void)before, (void)count;
    if (!kernel->function)
        return CUDA_ERROR_INVALID_VALUE;
    return graph_add_kernel(graph, duration_of(kernel, kernel->function),
                            kernel->function->local_bytes, out);
}

API CUresult cuGraphAddKernelNode_v2(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                                     size_t count, const struct kernel_parameters *kernel)
{
    (void)before, (void)count;
    CUfunction function = kernel->function ? kernel->function : kernel->kernel;
    if (!function)
        return CUDA_ERROR_INVALID_VALUE;
    return graph_add_kernel(graph, duration_of(kernel, function), function->local_bytes, out);
}

API CUresult cuGraphAddEmptyNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                                 size_t count)
{
    (void)before, (void)count;
    return add(graph, (struct fake_node){.kind = NODE_EMPTY}, out);
}

API CUresult cuGraphAddChildGraphNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                                      size_t count, CUgraph child)
{
    (void)before, (void)count;
    struct fake_graph *own = child ? graph_make() : NULL;
    if (!own)
        return CUDA_ERROR_INVALID_VALUE;
    graph_copy(own, child);
    return add(graph, (struct fake_node){.kind = NODE_CHILD, .child = own}, out);
}

API CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode node, CUgraph *out)
{
    if (!node || node->kind != NODE_CHILD)
        return CUDA_ERROR_INVALID_VALUE;
    *out = node->child;
    return CUDA_SUCCESS;
}

/* What a memory allocation node is asked for and answers. */
struct alloc_parameters {
    struct {
        int type, handles;
        int location_type, location_id;
        void *security;
        size_t max_size;
        unsigned char rest[56];
    } pool;
    const void *access;
    size_t access_count, size;
    CUdeviceptr pointer;
};

API CUresult cuGraphAddMemAllocNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                                    size_t count, struct alloc_parameters *alloc)
{
    (void)before, (void)count;
    if (!graph || !alloc || alloc->size == 0)
        return CUDA_ERROR_INVALID_VALUE;
    return graph_add_alloc(graph, alloc->pool.location_id, alloc->size, &alloc->pointer, out);
}

API CUresult cuGraphMemAllocNodeGetParams(CUgraphNode node, struct alloc_parameters *out)
{
    if (!node || node->kind != NODE_ALLOC)
        return CUDA_ERROR_INVALID_VALUE;
    memset(out, 0, sizeof *out);
    out->pool.type = out->pool.location_type = 1;
    out->pool.location_id = node->device;
    out->size = node->size;
    out->pointer = node->pointer;
    return CUDA_SUCCESS;
}

API CUresult cuGraphAddMemFreeNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                                   size_t count, CUdeviceptr pointer)
{
    (void)before, (void)count;
    return graph_add_free(graph, pointer, out);
}

/* The generic form: type number, then the parameters of that type. */
struct node_parameters {
    int type, reserved[3];
    union {
        struct kernel_parameters kernel;
        struct alloc_parameters alloc;
        CUdeviceptr pointer;
        char bytes[232];
    } of;
    long long reserved2;
};

API CUresult cuGraphAddNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                            size_t count, struct node_parameters *node)
{
    enum { KERNEL = 0, EMPTY = 5, ALLOC = 10, FREE = 11 };
    switch (node->type) {
    case KERNEL: return cuGraphAddKernelNode_v2(out, graph, before, count, &node->of.kernel);
    case EMPTY: return cuGraphAddEmptyNode(out, graph, before, count);
    case ALLOC: return cuGraphAddMemAllocNode(out, graph, before, count, &node->of.alloc);
    case FREE: return cuGraphAddMemFreeNode(out, graph, before, count, node->of.pointer);
    default: return CUDA_ERROR_NOT_SUPPORTED;
    }
}

API CUresult cuGraphAddNode_v2(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                               const void *edges, size_t count, struct node_parameters *node)
{
    (void)edges;
    return cuGraphAddNode(out, graph, before, count, node);
}

API CUresult cuGraphAddNode_v3(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                               const void *edges, size_t count, struct node_parameters *node)
{
    return cuGraphAddNode_v2(out, graph, before, edges, count, node);
}
