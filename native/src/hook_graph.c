/* Graphs that allocate. The driver takes their memory when an executable graph is uploaded or launched, and keeps it
 * for the next launch; so a launch reserves what its graph may need beyond what lies there unused, and settles by
 * what the driver then holds. Graphs without allocations cost one branch: a process that never made one. */
#include "charge.h"
#include "driver.h"
#include "gate.h"
#include "hooks.h"
#include "pools.h"

#define DEEPEST_GRAPH 16

_Atomic int vs_graphs_allocate;
#define GRAPH_STEP (UINT64_C(32) << 20) /* by which the driver takes memory for graphs */
#define LAUNCHED 1                      /* in an executable graph's block, which has no context of its own */

/* What the allocation nodes of a graph ask for, child graphs too. `gpu`: of the last one. */
static uint64_t graph_bytes(struct vs_process *process, CUgraph graph, int depth, int *gpu);

static uint64_t node_bytes(struct vs_process *process, CUgraphNode node, int depth, int *gpu)
{
    int type = -1;
    CUgraph child;
    CUDA_MEM_ALLOC_NODE_PARAMS params = {0};
    __typeof__(&cuGraphNodeGetType) type_of = VS_REAL(cuGraphNodeGetType);
    __typeof__(&cuGraphChildGraphNodeGetGraph) child_of = VS_REAL(cuGraphChildGraphNodeGetGraph);
    __typeof__(&cuGraphMemAllocNodeGetParams) params_of = VS_REAL(cuGraphMemAllocNodeGetParams);
    if (!type_of || type_of(node, &type) != CUDA_SUCCESS)
        return 0;
    if (type == CU_NODE_CHILD_GRAPH && child_of && child_of(node, &child) == CUDA_SUCCESS)
        return graph_bytes(process, child, depth + 1, gpu);
    if (type != CU_NODE_MEM_ALLOC || !params_of || params_of(node, &params) != CUDA_SUCCESS)
        return 0;
    int on = vs_gpu_of_location(process, &params.poolProps.location);
    if (on == VS_NO_CONTEXT)
        return 0;
    *gpu = on;
    return vs_page_up(params.bytesize);
}

static uint64_t graph_bytes(struct vs_process *process, CUgraph graph, int depth, int *gpu)
{
    size_t count = 0, room;
    uint64_t sum = 0;
    __typeof__(&cuGraphGetNodes) nodes_of = VS_REAL(cuGraphGetNodes);
    if (depth > DEEPEST_GRAPH || !nodes_of || nodes_of(graph, NULL, &count) != CUDA_SUCCESS || count == 0)
        return 0;
    room = count;
    CUgraphNode *nodes = vs_own_pages.take(room * sizeof(*nodes));
    if (nodes && nodes_of(graph, nodes, &count) == CUDA_SUCCESS)
        for (size_t i = 0; i < count && i < room; i++)
            sum = vs_plus(sum, node_bytes(process, nodes[i], depth, gpu));
    if (nodes)
        vs_own_pages.give(nodes, room * sizeof(*nodes));
    return sum;
}

/* Notes what launches of a new executable graph may take. */
static void instantiated(CUgraphExec exec, CUgraph graph)
{
    struct vs_process *process = vs_on();
    CUcontext context;
    if (!process)
        return;
    int gpu = vs_current_gpu(process, &context);
    if (gpu >= 0)
        atomic_store_explicit(&process->dirty[gpu], 1, memory_order_relaxed); /* it may have loaded code */
    if (!atomic_load_explicit(&vs_graphs_allocate, memory_order_relaxed))
        return;
    struct vs_block block = {.kind = VS_GRAPH};
    block.size = VS_INSIDE(graph_bytes(process, graph, 0, &gpu));
    block.gpu = gpu < 0 ? 0 : (unsigned)gpu;
    if (block.size)
        vs_object_made(process, &block, (uint64_t)(uintptr_t)exec, 0);
}

#define INSTANTIATE(name, parameters, arguments)                                                                      \
    VS_EXPORT CUresult name parameters                                                                                \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        CUresult result = VS_INSIDE(real arguments);                                                                  \
        if (result == CUDA_SUCCESS)                                                                                   \
            instantiated(*exec, graph);                                                                               \
        return result;                                                                                                \
    }

INSTANTIATE(cuGraphInstantiate, (CUgraphExec * exec, CUgraph graph, CUgraphNode *node, char *log, size_t size),
            (exec, graph, node, log, size))
INSTANTIATE(cuGraphInstantiate_v2, (CUgraphExec * exec, CUgraph graph, CUgraphNode *node, char *log, size_t size),
            (exec, graph, node, log, size))
INSTANTIATE(cuGraphInstantiateWithFlags, (CUgraphExec * exec, CUgraph graph, unsigned long long flags),
            (exec, graph, flags))

/* Adding a node that allocates makes later instantiations look for such nodes. */
static void may_allocate(void)
{
    atomic_store_explicit(&vs_graphs_allocate, 1, memory_order_relaxed);
}

VS_EXPORT CUresult cuGraphAddMemAllocNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                                          CUDA_MEM_ALLOC_NODE_PARAMS *params)
{
    VS_REAL_CUDA(cuGraphAddMemAllocNode);
    may_allocate();
    return VS_INSIDE(real(node, graph, deps, count, params));
}

VS_EXPORT CUresult cuGraphAddNode(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, size_t count,
                                  CUgraphNodeParams *params)
{
    VS_REAL_CUDA(cuGraphAddNode);
    if (params && params->type == CU_NODE_MEM_ALLOC)
        may_allocate();
    return VS_INSIDE(real(node, graph, deps, count, params));
}

#define ADD_NODE(name)                                                                                                \
    VS_EXPORT CUresult name(CUgraphNode *node, CUgraph graph, const CUgraphNode *deps, const CUgraphEdgeData *edges,  \
                            size_t count, CUgraphNodeParams *params)                                                  \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        if (params && params->type == CU_NODE_MEM_ALLOC)                                                              \
            may_allocate();                                                                                           \
        return VS_INSIDE(real(node, graph, deps, edges, count, params));                                              \
    }

ADD_NODE(cuGraphAddNode_v2)
ADD_NODE(cuGraphAddNode_v3)

VS_EXPORT CUresult cuGraphExecDestroy(CUgraphExec exec)
{
    VS_REAL_CUDA(cuGraphExecDestroy);
    struct vs_process *process = vs_on();
    struct vs_block block;
    uint64_t freed;
    bool known = process && vs_object_leaves(process, (uint64_t)(uintptr_t)exec, &block, &freed);
    CUresult result = VS_INSIDE(real(exec));
    if (known && result == CUDA_SUCCESS)
        vs_graph_memory_settle(process, (int)block.gpu, 0);
    return result;
}

static uint64_t whole_steps(uint64_t bytes) { return vs_plus(bytes, GRAPH_STEP - 1) / GRAPH_STEP * GRAPH_STEP; }

/* What a launch may make the driver take. A graph's first launch may take memory of its own, whatever lies there
 * unused for others; a later one, what is not there any more. */
static uint64_t launch_needs(struct vs_process *process, const struct vs_block *block)
{
    uint64_t used = 0, whole = whole_steps(block->size);
    __typeof__(&cuDeviceGetGraphMemAttribute) ask = VS_REAL(cuDeviceGetGraphMemAttribute);
    int device = vs_device_of_gpu(process, (int)block->gpu);
    vs_graph_memory_settle(process, (int)block->gpu, 0);
    if (!ask || device < 0 || ask(device, CU_GRAPH_MEM_USED, &used) != CUDA_SUCCESS)
        return whole;
    return block->context == LAUNCHED ? vs_minus(whole, vs_minus(process->books.graphs[block->gpu], used)) : whole;
}

/* Notes that the graph has its memory. */
static void launched(struct vs_process *process, CUgraphExec exec)
{
    struct vs_block block;
    uint64_t freed;
    bool recorded;
    vs_lock(&process->books_lock);
    if (vs_books_take_object(&process->books, (uint64_t)(uintptr_t)exec, &block, &freed)) {
        block.context = LAUNCHED;
        vs_books_add_object(&process->books, &vs_own_pages, (uint64_t)(uintptr_t)exec, &block, &recorded);
    }
    vs_unlock(&process->books_lock);
}

static inline bool no_graph_allocates(void)
{
    return VS_LIKELY(!atomic_load_explicit(&vs_graphs_allocate, memory_order_relaxed));
}

/* Whether this graph allocates, in a process that has limits. */
static struct vs_process *allocating(CUgraphExec exec, struct vs_block *block)
{
    struct vs_process *process = no_graph_allocates() ? NULL : vs_on();
    if (VS_LIKELY(!process))
        return NULL;
    vs_lock(&process->books_lock);
    bool found = vs_books_find_object(&process->books, (uint64_t)(uintptr_t)exec, block);
    vs_unlock(&process->books_lock);
    return found && block->kind == VS_GRAPH ? process : NULL;
}

static CUresult launch(struct vs_process *process, const struct vs_block *block, CUresult (*real)(CUgraphExec, CUstream),
                       CUgraphExec exec, CUstream stream)
{
    uint64_t needs = launch_needs(process, block);
    if (needs && !vs_reserve(process, (int)block->gpu, needs))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = VS_INSIDE(real(exec, stream));
    vs_graph_memory_settle(process, (int)block->gpu, needs);
    if (result == CUDA_SUCCESS && block->context != LAUNCHED)
        launched(process, exec);
    return result;
}

/* Instantiates a graph that is uploaded at once: its memory is taken now. */
static CUresult instantiate_uploaded(struct vs_process *process, CUgraphExec *exec, CUgraph graph, void *params,
                                     CUresult (*real)(CUgraphExec *, CUgraph, void *))
{
    CUcontext context;
    int gpu = vs_current_gpu(process, &context);
    uint64_t bytes = VS_INSIDE(graph_bytes(process, graph, 0, &gpu)), needs = whole_steps(bytes);
    if (gpu < 0)
        needs = 0;
    if (needs && !vs_reserve(process, gpu, needs))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = VS_INSIDE(real(exec, graph, params));
    if (needs)
        vs_graph_memory_settle(process, gpu, needs);
    if (result == CUDA_SUCCESS) {
        instantiated(*exec, graph);
        launched(process, *exec);
    }
    return result;
}

/* `params` begins with 64 bits of flags. */
#define INSTANTIATE_WITH_PARAMS(name)                                                                                 \
    VS_EXPORT CUresult name(CUgraphExec *exec, CUgraph graph, void *params)                                           \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        bool uploads = params && (*(uint64_t *)params & CU_GRAPH_UPLOAD) && !no_graph_allocates();                    \
        struct vs_process *process = uploads ? vs_on() : NULL;                                                        \
        if (process)                                                                                                  \
            return instantiate_uploaded(process, exec, graph, params, real);                                          \
        CUresult result = VS_INSIDE(real(exec, graph, params));                                                       \
        if (result == CUDA_SUCCESS)                                                                                   \
            instantiated(*exec, graph);                                                                               \
        return result;                                                                                                \
    }

INSTANTIATE_WITH_PARAMS(cuGraphInstantiateWithParams)
INSTANTIATE_WITH_PARAMS(cuGraphInstantiateWithParams_ptsz)

#define GRAPH_LAUNCH(name)                                                                                            \
    VS_EXPORT CUresult name(CUgraphExec exec, CUstream stream)                                                        \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct vs_block block;                                                                                        \
        struct vs_process *process = allocating(exec, &block);                                                        \
        return VS_LIKELY(!process) ? real(exec, stream) : launch(process, &block, real, exec, stream);                \
    }

/* A graph is one unit of work: it waits for its turn as a kernel does. */
#define GRAPH_TURN(name, per_thread)                                                                                  \
    static __attribute__((noinline)) CUresult ungated_##name(CUgraphExec exec, CUstream stream)                                                 \
    {                                                                                                                 \
        struct vs_block block;                                                                                        \
        struct vs_process *process = allocating(exec, &block);                                                        \
        return VS_LIKELY(!process) ? vs_real.name(exec, stream)                                                       \
                                   : launch(process, &block, vs_real.name, exec, stream);                             \
    }                                                                                                                 \
    VS_EXPORT CUresult name(CUgraphExec exec, CUstream stream)                                                        \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct vs_gate gate;                                                                                          \
        if (vs_gate_stands_open())                                                                                    \
            return no_graph_allocates() ? real(exec, stream) : ungated_##name(exec, stream);                          \
        vs_gate_enter(&gate, stream, per_thread, vs_gate_kind(exec, 0, 0));                                           \
        CUresult result = ungated_##name(exec, stream);                                                               \
        vs_gate_leave(&gate, result);                                                                                 \
        return result;                                                                                                \
    }

GRAPH_LAUNCH(cuGraphUpload)
GRAPH_LAUNCH(cuGraphUpload_ptsz)
GRAPH_TURN(cuGraphLaunch, false)
GRAPH_TURN(cuGraphLaunch_ptsz, true)

VS_EXPORT CUresult cuDeviceGraphMemTrim(CUdevice dev)
{
    VS_REAL_CUDA(cuDeviceGraphMemTrim);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(dev));
    int gpu = process ? vs_gpu_of_device(process, dev) : VS_NO_CONTEXT;
    if (gpu >= 0)
        vs_graph_memory_settle(process, gpu, 0);
    return result;
}
