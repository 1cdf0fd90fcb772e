/* Marks in streams: contract in gates.h. Every call to the driver here is allowed to fail: work whose progress
 * cannot be seen counts as done. */
#include "gates.h"

#include "driver.h"
#include "real.h"

#include <string.h>

#define LATE (2 * VS_MARK_EVERY) /* ns; a program that has launched nothing for so long has paused */
#define UNIT_MEMORY UINT64_C(5000000000) /* ns that a long unit is remembered, at least */

struct vs_gates *vs_gates(struct vs_process *process)
{
    struct vs_gates *gates = atomic_load_explicit(&process->gates, memory_order_acquire), *none = NULL;
    if (VS_LIKELY(gates != NULL))
        return gates;
    gates = vs_own_pages.take(sizeof(*gates));
    if (gates && !atomic_compare_exchange_strong(&process->gates, &none, gates)) {
        vs_own_pages.give(gates, sizeof(*gates));
        gates = none;
    }
    return gates;
}

/* Empties a lane but for its lock, GPU and users. Both locks are held; its events went with their context, or before. */
static void clear(struct vs_lane *lane)
{
    size_t kept = offsetof(struct vs_lane, stream);
    memset((unsigned char *)lane + kept, 0, sizeof(*lane) - kept);
    lane->context = NULL;
}

static void end_event(CUevent event)
{
    __typeof__(&cuEventDestroy_v2) end = VS_REAL(cuEventDestroy_v2);
    if (event && end)
        end(event);
}

/* Takes its lane from a context that has nothing under way, and nobody who is about to launch. */
static void give_up_idle(struct vs_gates *gates)
{
    bool idle = false;
    int mode = vs_quiet_begin();
    for (unsigned i = 0; i < VS_LANES && !idle; i++) {
        struct vs_lane *lane = &gates->lane[i];
        vs_lock(&lane->lock);
        vs_lane_mark(lane);
        vs_lane_poll(lane, vs_now(false));
        vs_lock(&gates->lanes_lock);
        idle = lane->flow.estimate == 0 && lane->users == 0;
        for (unsigned m = 0; idle && m < VS_MARKS * VS_LANE_STREAMS; m++)
            end_event(lane->mark[m / VS_LANE_STREAMS].event[m % VS_LANE_STREAMS]);
        if (idle) {
            end_event(lane->start);
            clear(lane);
        }
        vs_unlock(&gates->lanes_lock);
        vs_unlock(&lane->lock);
    }
    vs_quiet_end(mode);
}

static struct vs_lane *find_lane(struct vs_gates *gates, CUcontext context, int gpu)
{
    struct vs_lane *found = NULL;
    vs_lock(&gates->lanes_lock);
    for (unsigned i = 0; i < VS_LANES && !(found && found->context == context); i++)
        if (gates->lane[i].context == context || (!found && !gates->lane[i].context && !gates->lane[i].users))
            found = &gates->lane[i];
    if (found && !found->context) {
        found->context = context;
        found->gpu = gpu;
    }
    if (found)
        found->users++;
    vs_unlock(&gates->lanes_lock);
    return found;
}

void vs_lane_leave(struct vs_gates *gates, struct vs_lane *lane)
{
    vs_lock(&gates->lanes_lock);
    lane->users--;
    vs_unlock(&gates->lanes_lock);
}

struct vs_lane *vs_lane_of(struct vs_gates *gates, CUcontext context, int gpu)
{
    struct vs_lane *found = find_lane(gates, context, gpu);
    if (VS_LIKELY(found != NULL))
        return found;
    give_up_idle(gates);
    return find_lane(gates, context, gpu);
}

void vs_gates_forget(struct vs_process *process, CUcontext context)
{
    struct vs_gates *gates = atomic_load_explicit(&process->gates, memory_order_acquire);
    for (unsigned i = 0; gates && i < VS_LANES; i++) {
        struct vs_lane *lane = &gates->lane[i];
        vs_lock(&lane->lock);
        vs_lock(&gates->lanes_lock);
        if (lane->context && (!context || lane->context == context))
            clear(lane);
        vs_unlock(&gates->lanes_lock);
        vs_unlock(&lane->lock);
    }
}

/* Where a stream stands in the open segment; its end: nowhere. */
static unsigned place_of_stream(const struct vs_lane *lane, CUstream stream)
{
    unsigned i = 0;
    while (i < lane->streams && lane->stream[i] != stream)
        i++;
    return i;
}

void vs_lane_launched(struct vs_lane *lane, CUstream stream, uint64_t now, uint64_t kind, uint64_t cost)
{
    unsigned i = place_of_stream(lane, stream);
    if (i == VS_LANE_STREAMS) {
        vs_lane_mark(lane);
        i = lane->streams;
    }
    if (i == VS_LANE_STREAMS)
        i--; /* no mark could be set: the latest stream stands for the others */
    lane->stream[i] = stream;
    if (i == lane->streams)
        lane->streams++;
    if (lane->flow.open.units == 0)
        lane->fresh = lane->flow.estimate == 0;
    bool mark = vs_flow_launch(&lane->flow, now, kind, cost, cost != 0);
    if (cost == 0)
        lane->unknown = lane->marked + 1;
    if (mark || lane->curious)
        vs_lane_mark(lane);
    lane->curious = false;
}

/* Whether a stream is part of a capture now, or a capture would not stand an event in it (the legacy stream): an event
 * would become part of the graph, and asking for it would end the capture. */
static bool captures(CUstream stream)
{
    int status = 0;
    __typeof__(&cuStreamIsCapturing) ask = VS_REAL(cuStreamIsCapturing);
    return ask && (ask(stream, &status) != CUDA_SUCCESS || status != 0);
}

/* Records one event; makes it on first use. */
static bool record(CUevent *event, CUstream stream)
{
    __typeof__(&cuEventCreate) create = VS_REAL(cuEventCreate);
    __typeof__(&cuEventRecord) put = VS_REAL(cuEventRecord);
    if (!create || !put || captures(stream))
        return false;
    if (!*event && create(event, 0) != CUDA_SUCCESS)
        *event = NULL;
    if (*event && put(*event, stream) == CUDA_SUCCESS)
        return true;
    *event = NULL; /* of a context that is gone, or the stream is: the next mark makes another */
    return false;
}

void vs_lane_begin(struct vs_lane *lane, CUstream stream)
{
    if (lane->flow.estimate == 0)
        lane->started = record(&lane->start, stream);
}

void vs_lane_mark(struct vs_lane *lane)
{
    /* One mark stays unused, so that the one before the first is still there to measure from. */
    if (lane->flow.open.units == 0 || lane->flow.count >= VS_MARKS - 1)
        return;
    struct vs_mark *mark = &lane->mark[(lane->flow.first + lane->flow.count) % VS_MARKS];
    mark->streams = 0;
    mark->fresh = lane->fresh;
    mark->blind = false;
    for (unsigned i = 0; i < lane->streams; i++)
        if (record(&mark->event[mark->streams], lane->stream[i]))
            mark->streams++;
    vs_flow_mark(&lane->flow);
    lane->marked++;
    lane->streams = 0;
}

void vs_lanes_drop_stream(struct vs_gates *gates, CUstream stream)
{
    __typeof__(&cuCtxPushCurrent_v2) push = VS_REAL(cuCtxPushCurrent_v2);
    __typeof__(&cuCtxPopCurrent_v2) pop = VS_REAL(cuCtxPopCurrent_v2);
    for (unsigned i = 0; i < VS_LANES; i++) {
        struct vs_lane *lane = &gates->lane[i];
        CUcontext ignored;
        vs_lock(&lane->lock);
        if (place_of_stream(lane, stream) < lane->streams) {
            bool inside = push && pop && push(lane->context) == CUDA_SUCCESS;
            vs_lane_mark(lane);
            if (inside)
                pop(&ignored);
            unsigned left = place_of_stream(lane, stream); /* no mark could be set */
            if (left < lane->streams)
                lane->stream[left] = lane->stream[--lane->streams];
        }
        vs_unlock(&lane->lock);
    }
}

static bool reached(const struct vs_mark *mark)
{
    __typeof__(&cuEventQuery) query = VS_REAL(cuEventQuery);
    for (unsigned i = 0; query && i < mark->streams; i++)
        if (query(mark->event[i]) == CUDA_ERROR_NOT_READY)
            return false;
    return true;
}

/* How long the first segment ran; 0: cannot be said. */
static uint64_t elapsed(const struct vs_lane *lane, uint64_t now)
{
    const struct vs_mark *mark = &lane->mark[lane->flow.first];
    const struct vs_mark *before = &lane->mark[(lane->flow.first + VS_MARKS - 1) % VS_MARKS];
    __typeof__(&cuEventElapsedTime) ask = VS_REAL(cuEventElapsedTime);
    float milliseconds = 0;
    if (mark->streams == 0 || mark->blind)
        return 0;
    if (mark->fresh ? !lane->started : before->streams == 0)
        return vs_minus(now, lane->flow.anchor); /* read before another thread's launch */
    CUevent from = mark->fresh ? lane->start : before->event[before->streams - 1];
    if (!ask || ask(&milliseconds, from, mark->event[mark->streams - 1]) != CUDA_SUCCESS)
        return 0;
    return milliseconds > 0 ? (uint64_t)((double)milliseconds * 1e6) : 0;
}

/* Remembers the longest unit of the last few seconds. */
static void note_unit(struct vs_lane *lane, uint64_t now, uint64_t unit)
{
    if (now - lane->unit_since > UNIT_MEMORY) {
        lane->unit_before = lane->unit;
        lane->unit = 0;
        lane->unit_since = now;
    }
    lane->unit = vs_max(lane->unit, unit);
}

uint64_t vs_lane_poll(struct vs_lane *lane, uint64_t now)
{
    uint64_t used = 0;
    while (lane->flow.count && reached(&lane->mark[lane->flow.first])) {
        uint64_t time = elapsed(lane, now);
        const struct vs_segment *done = &lane->flow.segment[lane->flow.first];
        /* The first unit of a kind took its code's loading as well. */
        if (time && vs_cost(&lane->costs, done->kind[0]))
            note_unit(lane, now, time / done->units);
        used += time ? time : done->estimate;
        vs_flow_done(&lane->flow, &lane->costs, now, time);
        lane->reached++;
    }
    /* What follows a pause must not be measured from before it. */
    if (lane->flow.count == 0 && lane->flow.open.units && now > vs_flow_finish(&lane->flow, 0) + LATE) {
        struct vs_mark *mark = &lane->mark[lane->flow.first];
        vs_lane_mark(lane);
        mark->blind = true;
        lane->curious = true;
    }
    return used;
}
