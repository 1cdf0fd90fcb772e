/* The limiter's state in this process. Made when something is first launched, forgotten by a forked child. */
#ifndef VRAMSHARE_GATES_H
#define VRAMSHARE_GATES_H

#include "../include/cudaapi.h"
#include "flow.h"
#include "state.h"
#include "windows.h"

#define VS_LANES 16       /* contexts of one process that have work under way under a cap at one time */
#define VS_LANE_STREAMS 4 /* streams that one mark covers */

/* A GPU's windows, as last read. */
struct vs_turns {
    uint64_t mark[4]; /* what the timetable's file looked like */
    unsigned capped;  /* the cap under which it was read */
    bool table_read;
    bool looked; /* once at least */
    struct vs_windows table; /* out of the file */
    struct vs_windows now;   /* in force; no windows: nobody waits */
};

/* A mark: an event in each stream that the segment's work went to. */
struct vs_mark {
    CUevent event[VS_LANE_STREAMS];
    unsigned streams;
    bool fresh; /* the GPU had nothing of ours to do before: time counts from lane.start */
    bool blind; /* set long after the work: how long that took cannot be said */
};

/* What a context has launched. */
struct vs_lane {
    CUcontext context; /* NULL: free */
    int gpu;
    unsigned users; /* launches between gate and driver; under lanes_lock */
    vs_lock_t lock;
    CUstream stream[VS_LANE_STREAMS]; /* of the open segment */
    unsigned streams;
    bool fresh;
    bool started;  /* `start` is where the first work after a pause began */
    bool curious;  /* the next launch gets a mark of its own: nothing was measured for a while */
    CUevent start;
    uint64_t marked, reached; /* marks set and seen, ever */
    uint64_t unknown;         /* the mark that tells the cost of a unit never seen before; until then no other is tried */
    uint64_t unit, unit_before, unit_since; /* longest unit in this and in the last few seconds */
    struct vs_flow flow;
    struct vs_mark mark[VS_MARKS];
    struct vs_costs costs;
};

struct vs_gates {
    _Atomic uint64_t looked; /* when limits and timetables were last looked at, coarse ns */
    vs_lock_t turns_lock;
    vs_lock_t lanes_lock;
    struct vs_turns turns[VS_REGION_GPUS];
    struct vs_lane lane[VS_LANES];
};

/* The state, made if there is none. NULL: no memory. */
struct vs_gates *vs_gates(struct vs_process *process);

/* The lane of a context, taken if it has none, from one that has nothing under way if need be, and kept until
 * vs_lane_leave. NULL: there is none now. */
struct vs_lane *vs_lane_of(struct vs_gates *gates, CUcontext context, int gpu);
void vs_lane_leave(struct vs_gates *gates, struct vs_lane *lane);

/* A stream is about to end: marks what it still has to do, in whichever lane that is, and names it no more. */
void vs_lanes_drop_stream(struct vs_gates *gates, CUstream stream);

/* With the lane's lock held: */

/* Before a launch into a stream. */
void vs_lane_begin(struct vs_lane *lane, CUstream stream);

/* Notes a launch that is under way in a stream. */
void vs_lane_launched(struct vs_lane *lane, CUstream stream, uint64_t now, uint64_t kind, uint64_t cost);

/* Closes the open segment by a mark. */
void vs_lane_mark(struct vs_lane *lane);

/* Takes note of marks that were reached; the GPU time that they closed. */
uint64_t vs_lane_poll(struct vs_lane *lane, uint64_t now);

/* Forgets the lane of a context that is gone, and its events with it; NULL: whichever it was. Without a lane's lock held. */
void vs_gates_forget(struct vs_process *process, CUcontext context);

#endif
