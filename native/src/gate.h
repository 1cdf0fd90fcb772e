/* The gate that launches pass: holds them to this container's windows where anybody on the GPU has a cap.
 *
 * Where nobody has, a launch costs a counter and a branch. */
#ifndef VRAMSHARE_GATE_H
#define VRAMSHARE_GATE_H

#include "gates.h"
#include "turns.h"

/* A launch on its way. */
struct vs_gate {
    struct vs_lane *lane; /* NULL: it need not wait and is not counted */
    struct vs_process *process;
    CUstream stream;
    uint64_t kind, cost;
    bool opening; /* what it waits for is a window's opening, with nothing under way: to be met exactly */
};

/* Launches that may still pass before the next look at whether turns are taken now: as many as pass in a moment at the
 * pace of late, none after a long wait. A lost count does no harm. */
extern _Atomic unsigned vs_gate_allowance;

/* Whether a launch may pass without a look at the gate. */
static inline bool vs_gate_stands_open(void)
{
    unsigned left = atomic_load_explicit(&vs_gate_allowance, memory_order_relaxed);
    if (VS_UNLIKELY(left == 0))
        return false;
    atomic_store_explicit(&vs_gate_allowance, left - 1, memory_order_relaxed);
    return VS_LIKELY(!atomic_load_explicit(&vs_turns_taken, memory_order_relaxed));
}

/* After a wait for the GPU: if it has lasted, the next launch looks. */
void vs_gate_waited(void);

/* Waits until a unit of this kind may start. Never waits inside a stream capture. `per_thread`: stream 0 means the
 * calling thread's own default stream. */
void vs_gate_enter(struct vs_gate *gate, CUstream stream, bool per_thread, uint64_t kind);

/* After the launch: counts it if the driver took it. */
void vs_gate_leave(const struct vs_gate *gate, CUresult result);

/* A name for a kind of unit: a function with its grid, or a graph. Never 0. */
static inline uint64_t vs_gate_kind(const void *what, uint64_t blocks, uint64_t threads)
{
    uint64_t kind = (uint64_t)(uintptr_t)what * UINT64_C(0x9e3779b97f4a7c15);
    kind ^= (blocks * 1024 + threads) * UINT64_C(0xc2b2ae3d27d4eb4f);
    return kind ? kind : 1;
}

#endif
