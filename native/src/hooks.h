/* Between the files of hooks. */
#ifndef VRAMSHARE_HOOKS_H
#define VRAMSHARE_HOOKS_H

#include "state.h"

/* Records a block that the driver has just given and settles its reservation. */
void vs_block_made(struct vs_process *process, const struct vs_block *block, uint64_t address, uint64_t reserved);

/* Takes a block out before the driver frees it; false: not ours. Then says how the driver answered. */
bool vs_block_leaves(struct vs_process *process, uint64_t address, struct vs_block *block, uint64_t *freed);
void vs_block_left(struct vs_process *process, uint64_t address, const struct vs_block *block, uint64_t freed,
                   bool gone);

/* The same for things named by a driver handle. */
void vs_object_made(struct vs_process *process, const struct vs_block *block, uint64_t handle, uint64_t reserved);
bool vs_object_leaves(struct vs_process *process, uint64_t handle, struct vs_block *block, uint64_t *freed);
void vs_object_left(struct vs_process *process, uint64_t handle, const struct vs_block *block, uint64_t freed,
                    bool gone);

/* Not 0: a graph of this process may hold allocations. By itself, since every graph launch asks. */
extern _Atomic int vs_graphs_allocate;

/* Forgets which functions were launched: after code went, another function may have the same address. */
void vs_launches_forget(void);

/* The living process of this container that is charged for handed-out memory, remembered as a lender; 0: nobody, or
 * there are too many lenders. */
uint64_t vs_lender_of(struct vs_process *process, uint64_t key);

/* Charges to this process what it has borrowed from processes that are gone: the memory lives on through us. */
void vs_adopt_orphans(struct vs_process *process);

/* What two processes agree on about physical memory that goes from one to the other. */
uint64_t vs_physical_key(int gpu, uint64_t size);

/* Gives each GPU back what is stated for it. */
void vs_uncharge_all(struct vs_process *process, const uint64_t freed[VS_REGION_GPUS]);

#endif
