/* Graphs: a list of nodes whose durations add up. */
#define _GNU_SOURCE
#include "graph.h"

#include <stdlib.h>

struct fake_graph {
    uint64_t duration;         /* of all kernels together */
    unsigned nodes;
};

CUresult graph_capture_kernel(struct fake_graph *graph, uint64_t duration)
{
    graph->duration += duration;
    graph->nodes++;
    return CUDA_SUCCESS;
}
