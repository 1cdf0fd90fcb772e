/* Graphs, as far as capture and launch share them. */
#ifndef FAKEGPU_GRAPH_H
#define FAKEGPU_GRAPH_H

#include "driver.h"

/* Adds a captured kernel of this duration. */
CUresult graph_capture_kernel(struct fake_graph *graph, uint64_t duration);

#endif
