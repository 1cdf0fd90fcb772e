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

/* Gives each GPU back what is stated for it. */
void vs_uncharge_all(struct vs_process *process, const uint64_t freed[VS_REGION_GPUS]);

#endif
