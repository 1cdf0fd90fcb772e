/* What one process has launched on one GPU and what is known of its progress: segments of work, each closed by a
 * mark (an event in its stream), and how long each kind of unit takes. Pure: the caller records and queries the
 * marks.
 *
 * A mark closes about VS_MARK_EVERY of work, not every kernel: a mark costs about as much as a launch. */
#ifndef VRAMSHARE_FLOW_H
#define VRAMSHARE_FLOW_H

#include "base.h"

#define VS_MARKS 64
#define VS_MARK_EVERY (UINT64_C(500) * 1000)
#define VS_SEGMENT_KINDS 8
#define VS_COST_MOST (UINT64_C(1000) * 1000 * 1000) /* ns; what is measured longer (a clock that jumped) counts so much */
#define VS_COSTS 4096 /* kinds of unit remembered; a power of two */

/* Costs by kind of unit (function and grid, or graph). Zero-filled: nothing known. */
struct vs_costs {
    struct {
        uint64_t kind; /* 0: free */
        uint64_t cost;
    } at[VS_COSTS];
};

/* How long a unit of this kind takes; 0: never seen. */
uint64_t vs_cost(const struct vs_costs *costs, uint64_t kind);

/* Work between two marks. */
struct vs_segment {
    uint64_t estimate; /* ns, as believed when launched */
    unsigned units, kinds;
    uint64_t kind[VS_SEGMENT_KINDS]; /* the first few kinds in it */
};

struct vs_flow {
    uint64_t anchor; /* when the first of the segments began, or the last one ended */
    unsigned first, count;
    uint64_t estimate; /* of all segments and the open one */
    struct vs_segment open;
    struct vs_segment segment[VS_MARKS];
};

/* A unit was launched. True: a mark should follow. */
bool vs_flow_launch(struct vs_flow *flow, uint64_t now, uint64_t kind, uint64_t cost, bool known);

/* The open segment is closed by a mark. False: it is empty, or there are VS_MARKS segments already. */
bool vs_flow_mark(struct vs_flow *flow);

/* The first segment's mark is reached; it took `elapsed` (0: not measured). Learns from it. */
void vs_flow_done(struct vs_flow *flow, struct vs_costs *costs, uint64_t now, uint64_t elapsed);

/* When all will be done, as far as is known; in the past: it is done. */
uint64_t vs_flow_finish(const struct vs_flow *flow, uint64_t now);

#endif
