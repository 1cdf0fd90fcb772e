/* What hooks ask of the driver for the sake of the accounting: which GPU, how much, give back what is unused. */
#ifndef VRAMSHARE_DRIVER_H
#define VRAMSHARE_DRIVER_H

#include "real.h"
#include "state.h"

/* Calls the driver from inside a hook: what the driver calls through our own exports is then not counted twice. */
#define VS_INSIDE(call)                                                                                               \
    __extension__({                                                                                                   \
        vs_nested++;                                                                                                  \
        __typeof__(call) result_ = (call);                                                                            \
        vs_nested--;                                                                                                  \
        result_;                                                                                                      \
    })

/* The GPU index of a device ordinal. VS_NO_CONTEXT: not a device. VS_UNKNOWN_GPU: no room for it. */
int vs_gpu_of_device(struct vs_process *process, CUdevice device);

/* The GPU index of a place for memory. VS_NO_CONTEXT: not a device's memory. */
int vs_gpu_of_location(struct vs_process *process, const CUmemLocation *location);

/* The GPU index of the calling thread's context, and the context. VS_NO_CONTEXT: none. */
int vs_current_gpu(struct vs_process *process, CUcontext *context);

/* The GPU index that a stream's work runs on; that of the current context for the default streams. */
int vs_stream_gpu(struct vs_process *process, CUstream stream);

/* The ordinal of a GPU that vs_gpu_of_device has seen, else -1. */
int vs_device_of_gpu(struct vs_process *process, int gpu);

/* After a context is gone (NULL: it is not known which): forgets what was known of it, and which GPU each is on. */
void vs_forget_contexts(struct vs_process *process, CUcontext context);

/* The largest local memory of a thread that was launched in a context: the driver has it for all threads of the GPU.
 * Where it is not known any more, what every context has from its start. */
uint64_t vs_local_of(struct vs_process *process, CUcontext context);
void vs_local_note(struct vs_process *process, CUcontext context, uint64_t bytes);

/* It is now this, be it less; 0: the context is gone. */
void vs_local_set(struct vs_process *process, CUcontext context, uint64_t bytes);

/* Around questions of ours that this thread's stream capture would not stand otherwise; end gets what begin gave. */
int vs_quiet_begin(void);
void vs_quiet_end(int mode);

/* What the driver says this process holds of a GPU in all. False: it cannot say. */
bool vs_measure(struct vs_process *process, int gpu, uint64_t *bytes);

/* Sets the driver overhead to what is measured beyond what is charged. `lower`: it may also fall. */
void vs_measure_overhead(struct vs_process *process, int gpu, bool lower);

/* This process's driver overhead as it was last measured. */
uint64_t vs_own_overhead(struct vs_process *process, int gpu);

/* The name under which a context's promises for a limit stand, or, past the limits, for local memory. No driver handle
 * is odd. */
#define VS_FOR_LOCAL_MEMORY 64
static inline uint64_t vs_promise_name(CUcontext context, int limit)
{
    return (uint64_t)(uintptr_t)context + 1 + 2 * (uint64_t)limit;
}

/* Keeps `bytes`, which are charged already, as promised under a name (a driver handle), for a context (NULL: for none). */
void vs_promise(struct vs_process *process, int gpu, CUcontext context, uint64_t name, uint64_t bytes);

/* So much less is promised under a name; vs_promises_trim gives it back. */
void vs_promise_less(struct vs_process *process, uint64_t name, uint64_t bytes);

/* Gives back what is charged for promises beyond those that stand: after one is gone. */
void vs_promises_trim(struct vs_process *process, int gpu);

/* How many threads a GPU can hold at once: a stack is taken for each. 0: not known. */
uint64_t vs_resident_threads(struct vs_process *process, int gpu);

/* After a context of this process was destroyed: measures again, or forgets what it was taken to cost. */
void vs_context_gone(struct vs_process *process, int gpu);

/* Measures again if the driver may have taken memory since: after new code was loaded or launched. */
void vs_measure_if_dirty(struct vs_process *process, int gpu, bool now);

/* Looks whether those whose memory is borrowed still live, and takes over what the dead have lent. */
void vs_check_lenders(struct vs_process *process);

/* Takes back what this process holds without using it: pools, graph memory; then measures the overhead again. */
void vs_driver_relieve(struct vs_process *process, int gpu);

/* A call that makes the driver take memory of its own for a GPU: reserve, call, measure. */
struct vs_bracket {
    int gpu;
    bool measured;     /* `before` and `charged` are valid */
    bool own;          /* `before` is this process's figure, not the whole GPU's */
    uint64_t reserved; /* what is expected to be taken */
    uint64_t before, charged;
    bool whole;          /* `gpu_before` is valid */
    uint64_t gpu_before; /* the whole GPU's use: vs_bracket_context */
    uint64_t others;     /* what the rest of the container used */
    bool alone;          /* nobody else of the container had a request under way */
    uint64_t start;      /* what starting CUDA took of an unused GPU */
};

/* Opens a bracket for an expected size. False: refused. */
bool vs_bracket_open(struct vs_process *process, struct vs_bracket *bracket, int gpu, uint64_t expected);

/* After opening one for the making of a context: also what no figure of this process shows is measured. */
void vs_bracket_context(struct vs_process *process, struct vs_bracket *bracket);

/* Closes it after the call. `otherwise`: what to assume was taken where it cannot be measured. `done` false: the
 * call failed. False: the slice is exceeded, the caller must undo the call and measure again. `grown` (may be
 * NULL): what the driver took. */
bool vs_bracket_close(struct vs_process *process, struct vs_bracket *bracket, bool done, uint64_t otherwise,
                      uint64_t *grown);

#endif
