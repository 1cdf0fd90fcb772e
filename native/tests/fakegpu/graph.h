/* Graphs: what capture, pools and launches need of them. */
#ifndef FAKEGPU_GRAPH_H
#define FAKEGPU_GRAPH_H

#include "driver.h"

enum node_kind { NODE_KERNEL, NODE_ALLOC, NODE_FREE, NODE_CHILD, NODE_EMPTY };

/* One step of a graph. */
struct fake_node {
    enum node_kind kind;
    uint64_t duration;         /* kernel, child */
    uint64_t stack;            /* kernel: bytes a thread */
    CUdeviceptr pointer;       /* alloc, free */
    uint64_t size;             /* alloc */
    int device;
    struct fake_graph *child;
    struct fake_node *next;
};

/* A graph, or what was instantiated from one. Nodes in order of adding. */
struct fake_graph {
    struct fake_node *first, *last;
    unsigned count;
    /* instances only */
    uint64_t flags;
    uint64_t needed;           /* bytes of its allocations at their most */
    int device;
};

/* Add a node; *out (may be NULL) is the node. */
CUresult graph_add_kernel(struct fake_graph *graph, uint64_t duration, uint64_t stack,
                          struct fake_node **out);
CUresult graph_add_alloc(struct fake_graph *graph, int device, uint64_t size, CUdeviceptr *pointer,
                         struct fake_node **out);
CUresult graph_add_free(struct fake_graph *graph, CUdeviceptr pointer, struct fake_node **out);
struct fake_node *graph_add(struct fake_graph *graph, struct fake_node node);
/* Returns a RANGE_GRAPH's memory to the device's store for graphs. */
void graph_give(const struct fake_range *range);
/* Makes an empty graph. */
struct fake_graph *graph_make(void);
/* Frees a graph and its nodes. */
void graph_end(struct fake_graph *graph);
/* Copies the nodes of one graph to the end of another. */
void graph_copy(struct fake_graph *to, const struct fake_graph *from);
/* The same, with the nodes of child graphs in their place. */
void graph_flatten(struct fake_graph *to, const struct fake_graph *from);

#endif
