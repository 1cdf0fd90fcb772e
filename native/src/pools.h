/* Memory pools and graph memory: charged by what the driver says that it holds for them. */
#ifndef VRAMSHARE_POOLS_H
#define VRAMSHARE_POOLS_H

#include "driver.h"
#include "state.h"

/* The books' entry of a pool that is on a GPU; added if it is new. VS_NO_POOL: no room. */
unsigned vs_pool_entry(struct vs_process *process, CUmemoryPool pool, int gpu);

/* Asks the driver about a pool of the books (CU_POOL_...), whatever is being captured meanwhile. False: it does not say. */
bool vs_pool_ask(struct vs_process *process, unsigned pool, int attribute, uint64_t *value);

/* Asks the driver again and charges or gives back the difference. `reserved`: a reservation that ends with it. */
void vs_pool_settle(struct vs_process *process, unsigned pool, uint64_t reserved);

/* Asks the driver again. */
void vs_pool_refresh(struct vs_process *process, unsigned pool);

/* The same for a GPU's graph memory. */
void vs_graph_memory_settle(struct vs_process *process, int gpu, uint64_t reserved);

/* Asks again for all that this process holds on a GPU. */
void vs_pools_settle(struct vs_process *process, int gpu);

/* Lets the driver take back what pools and graphs of this GPU hold without using it. */
void vs_pools_trim(struct vs_process *process, int gpu);

#endif
