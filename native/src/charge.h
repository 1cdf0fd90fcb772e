/* Charging the region for what this process takes: reserve before the driver is asked, settle when it answered. */
#ifndef VRAMSHARE_CHARGE_H
#define VRAMSHARE_CHARGE_H

#include "state.h"

/* Reserves bytes on a GPU until vs_settled. Before a refusal it looks at the limits again, takes back what dead
 * processes held and what this process's own pools keep unused, and waits for others' requests to settle.
 * False: refused, counted and, the first time, reported. A GPU of VS_UNKNOWN_GPU refuses everything. */
bool vs_reserve(struct vs_process *process, int gpu, uint64_t bytes);

/* Reserves without any of that: no waiting, no report. For growth that is known only afterwards. */
bool vs_reserve_now(struct vs_process *process, int gpu, uint64_t bytes);

/* Ends a reservation: `actual` bytes are in use. */
void vs_settled(struct vs_process *process, int gpu, uint64_t reserved, uint64_t actual);

/* Charges what is there already, over the limit or not; the next request is refused then. */
void vs_charge(struct vs_process *process, int gpu, uint64_t bytes);

/* Gives bytes back. */
void vs_uncharge(struct vs_process *process, int gpu, uint64_t bytes);

/* Counts and reports a refusal. */
void vs_refuse(struct vs_process *process, int gpu, uint64_t bytes);

/* What the container uses of a GPU, with what is pending; what is left of the slice. */
uint64_t vs_in_use(struct vs_process *process, int gpu);
uint64_t vs_left(struct vs_process *process, int gpu);

/* This process's own charge, without its driver overhead. */
uint64_t vs_own_use(struct vs_process *process, int gpu);

#endif
