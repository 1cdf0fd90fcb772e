/* Waiting at the gate: contract in gate.h. The decision is turn.c's; here are clocks, marks and sleep. */
#include "gate.h"

#include "driver.h"
#include "system.h"
#include "turn.h"

#define SPIN UINT64_C(60000)        /* ns before a window opens from which on sleep would wake up too late */
#define SHORTEST_NAP UINT64_C(50000) /* ns between two looks at marks */
#define LONGEST_NAP UINT64_C(500000)
#define FIRST_GUESS UINT64_C(100000) /* ns that a unit of a kind never seen is taken to run */
#define FORCED_AFTER 2 /* cycles after which a launch passes if others of this container are still at work: they may
                          be waiting for it on the GPU */

#define LONGEST_SLEEP UINT64_C(100000000) /* ns after which one who waits looks again: tables and limits change */
#define ACTIVE_EVERY UINT64_C(5000000)    /* ns between two notes that this container has something to do */

#define MOST_UNSEEN 256u               /* launches between two looks at most */
#define MOMENT UINT64_C(20000000)      /* ns that they may take together */

_Atomic unsigned vs_gate_allowance;
static _Atomic uint64_t last_look; /* coarse ns */

void vs_gate_waited(void)
{
    if (vs_now(true) - atomic_load_explicit(&last_look, memory_order_relaxed) >= MOMENT)
        atomic_store_explicit(&vs_gate_allowance, 0, memory_order_relaxed);
}

/* Grants launches until the next look, by how long those since the last one have taken. */
static void allow_more(void)
{
    static _Atomic unsigned granted;
    uint64_t now = vs_now(true), took = now - atomic_exchange_explicit(&last_look, now, memory_order_relaxed);
    unsigned before = atomic_load_explicit(&granted, memory_order_relaxed);
    uint64_t next = took < MOMENT ? (uint64_t)before * 2 + 1 : (uint64_t)before * MOMENT / took;
    atomic_store_explicit(&granted, (unsigned)vs_min(next, MOST_UNSEEN), memory_order_relaxed);
    atomic_store_explicit(&vs_gate_allowance, (unsigned)vs_min(next, MOST_UNSEEN), memory_order_relaxed);
}

/* Sets this thread's capture mode; the one before. In relaxed mode marks may be made and queried while another stream
 * is being captured. */
static int capture_mode(int mode)
{
    __typeof__(&cuThreadExchangeStreamCaptureMode) exchange = VS_REAL(cuThreadExchangeStreamCaptureMode);
    if (exchange)
        exchange(&mode);
    return mode;
}

static bool capturing(CUstream stream)
{
    int status = 0;
    __typeof__(&cuStreamIsCapturing) ask = VS_REAL(cuStreamIsCapturing);
    return ask && (ask(stream, &status) != CUDA_SUCCESS || status != 0);
}

/* When the GPU will have done what this container has launched, and whether anything is still under way. */
static uint64_t container_finish(struct vs_process *process, int gpu, uint64_t now, bool *busy)
{
    uint64_t finish = 0;
    for (unsigned slot = 0, slots = vs_slots(&process->view); slot < slots; slot++) {
        if (!vs_counting(&process->view, slot))
            continue;
        uint64_t one = atomic_load_explicit(&vs_use(&process->view, slot, (unsigned)gpu)->time_finish,
                                            memory_order_relaxed);
        finish = vs_max(finish, one);
    }
    *busy = finish > now;
    return finish;
}

/* Publishes what this process knows of its progress. The lane's lock is held. */
static void publish(struct vs_process *process, int slot, const struct vs_lane *lane, uint64_t now, uint64_t used)
{
    struct vs_region_use *use = vs_use(&process->view, (unsigned)slot, (unsigned)lane->gpu);
    struct vs_region_gpu *entry = vs_gpu(&process->view, (unsigned)lane->gpu);
    atomic_store_explicit(&use->time_finish, vs_flow_finish(&lane->flow, now), memory_order_relaxed);
    if (!used)
        return;
    atomic_fetch_add_explicit(&use->time_used, used, memory_order_relaxed);
    atomic_fetch_add_explicit(&entry->time_used, used, memory_order_relaxed);
    uint64_t unit = vs_max(lane->unit, lane->unit_before);
    atomic_store_explicit(&use->time_unit, unit, memory_order_relaxed);
    for (unsigned i = 0, slots = vs_slots(&process->view); i < slots; i++)
        if (vs_counting(&process->view, i))
            unit = vs_max(unit, atomic_load_explicit(&vs_use(&process->view, i, (unsigned)lane->gpu)->time_unit,
                                                     memory_order_relaxed));
    atomic_store_explicit(&entry->time_unit, unit, memory_order_relaxed);
}

/* Tells the agent that this container has work for the GPU: its idle time may be lent. */
static void note_active(struct vs_region_gpu *entry, uint64_t now)
{
    uint64_t noted = atomic_load_explicit(&entry->time_active, memory_order_relaxed);
    if (now - noted >= ACTIVE_EVERY)
        atomic_store_explicit(&entry->time_active, now, memory_order_relaxed);
}

/* One look: may it go, else until when to sleep. */
static uint64_t look(struct vs_gate *gate, const struct vs_windows *table, int slot, uint64_t now, bool *busy)
{
    struct vs_lane *lane = gate->lane;
    struct vs_region_gpu *entry = vs_gpu(&gate->process->view, (unsigned)lane->gpu);
    struct vs_budget budget = {&entry->time_window, &entry->time_debt, &entry->time_wanted};
    int mode = capture_mode(CU_CAPTURE_RELAXED);
    vs_lock(&lane->lock);
    publish(gate->process, slot, lane, now, vs_lane_poll(lane, now));
    gate->cost = vs_cost(&lane->costs, gate->kind);
    uint64_t finish = container_finish(gate->process, lane->gpu, now, busy);
    *busy |= lane->flow.estimate != 0; /* overdue work too: it may be waiting for this launch */
    note_active(entry, now);
    struct vs_turn turn = {.at = now + LONGEST_NAP};
    if (gate->cost || lane->reached >= lane->unknown)
        turn = vs_turn_ask(table, &budget, now, finish, gate->cost ? gate->cost : FIRST_GUESS);
    if (turn.go)
        vs_lane_begin(lane, gate->stream);
    gate->opening = !turn.go && !turn.ahead && lane->flow.estimate == 0;
    if (!turn.go && !turn.ahead) {
        vs_lane_mark(lane); /* so that the end of what runs can be seen */
        if (lane->flow.count)
            turn.at = vs_min(turn.at, now + vs_min(LONGEST_NAP, vs_max(SHORTEST_NAP, vs_minus(finish, now) / 4)));
    }
    vs_unlock(&lane->lock);
    capture_mode(mode);
    return turn.go ? 0 : vs_max(turn.at, now + 1);
}

static void wait_until(uint64_t at, bool exactly)
{
    uint64_t now = vs_now(false), spin = exactly ? SPIN : 0;
    for (; at > now + spin; now = vs_now(false)) /* a signal ends a pause early */
        vs_pause(at - now - spin);
    while (vs_now(false) < at)
        __asm__ volatile("" ::: "memory");
}

static void wait_for_turn(struct vs_gate *gate, struct vs_windows *table, int slot)
{
    uint64_t start = vs_now(false), now = start, at;
    bool busy;
    while ((at = look(gate, table, slot, now, &busy)) != 0) {
        if (busy && now - start > FORCED_AFTER * table->cycle)
            break;
        wait_until(vs_min(at, now + LONGEST_SLEEP), gate->opening && at <= now + LONGEST_SLEEP);
        now = vs_now(false);
        vs_turns_refresh(gate->process);
        if (!vs_turns_of(gate->process, gate->lane->gpu, table))
            break;
    }
    struct vs_region_use *use = vs_use(&gate->process->view, (unsigned)slot, (unsigned)gate->lane->gpu);
    struct vs_region_gpu *entry = vs_gpu(&gate->process->view, (unsigned)gate->lane->gpu);
    if (now > start) {
        atomic_fetch_add_explicit(&use->time_waited, now - start, memory_order_relaxed);
        atomic_fetch_add_explicit(&entry->time_waited, now - start, memory_order_relaxed);
    }
    atomic_store_explicit(&use->time_debt, atomic_load(&entry->time_debt), memory_order_relaxed);
}

void vs_gate_enter(struct vs_gate *gate, CUstream stream, bool per_thread, uint64_t kind)
{
    struct vs_windows table;
    CUcontext context;
    *gate = (struct vs_gate){.process = vs_on(), .stream = stream, .kind = kind};
    allow_more();
    if (!gate->process)
        return;
    int gpu = vs_current_gpu(gate->process, &context);
    vs_turns_refresh(gate->process);
    if (gpu < 0 || !vs_turns_of(gate->process, gpu, &table))
        return;
    if (!stream)
        gate->stream = (CUstream)(uintptr_t)(per_thread ? 2 : 1);
    if (capturing(gate->stream))
        return;
    int slot = vs_own_slot(gate->process);
    struct vs_gates *gates = vs_gates(gate->process);
    if (slot < 0 || !gates)
        return;
    uint64_t start = vs_now(false);
    while (!(gate->lane = vs_lane_of(gates, context, gpu)) && vs_now(false) - start < FORCED_AFTER * table.cycle)
        vs_pause(LONGEST_NAP);
    if (gate->lane)
        wait_for_turn(gate, &table, slot);
}

/* Notes a launch that the driver took. */
static void launched(const struct vs_gate *gate, int slot)
{
    struct vs_lane *lane = gate->lane;
    int mode = capture_mode(CU_CAPTURE_RELAXED);
    uint64_t now = vs_now(false);
    vs_lock(&lane->lock);
    vs_lane_launched(lane, gate->stream, now, gate->kind, gate->cost);
    struct vs_region_use *use = vs_use(&gate->process->view, (unsigned)slot, (unsigned)lane->gpu);
    atomic_fetch_add_explicit(&use->launches, 1, memory_order_relaxed);
    atomic_store_explicit(&use->time_finish, vs_flow_finish(&lane->flow, now), memory_order_relaxed);
    vs_unlock(&lane->lock);
    capture_mode(mode);
}

void vs_gate_leave(const struct vs_gate *gate, CUresult result)
{
    int slot;
    if (!gate->lane)
        return;
    if (result == CUDA_SUCCESS && (slot = vs_own_slot(gate->process)) >= 0)
        launched(gate, slot);
    vs_lane_leave(vs_gates(gate->process), gate->lane);
}

/* Marks what a stream that is about to end still has to do: afterwards it cannot be marked. */
static void stream_ends(CUstream stream)
{
    struct vs_process *process = vs_on();
    struct vs_gates *gates = process ? atomic_load_explicit(&process->gates, memory_order_acquire) : NULL;
    if (!gates)
        return;
    int mode = capture_mode(CU_CAPTURE_RELAXED);
    vs_lanes_drop_stream(gates, stream);
    capture_mode(mode);
}

#define STREAM_DESTROY(name)                                                                                          \
    VS_EXPORT CUresult name(CUstream stream)                                                                          \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        if (VS_UNLIKELY(atomic_load_explicit(&vs_turns_taken, memory_order_relaxed)))                                 \
            stream_ends(stream);                                                                                          \
        return real(stream);                                                                                          \
    }

STREAM_DESTROY(cuStreamDestroy)
STREAM_DESTROY(cuStreamDestroy_v2)
