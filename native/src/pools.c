/* Contract in pools.h. The driver is asked outside the books' lock: an answer that two threads bring at once may be
 * the older one, and the next question corrects it. */
#include "pools.h"

#include "charge.h"

unsigned vs_pool_entry(struct vs_process *process, CUmemoryPool pool, int gpu)
{
    vs_lock(&process->books_lock);
    unsigned entry = vs_books_pool(&process->books, (uint64_t)(uintptr_t)pool);
    if (entry == VS_NO_POOL)
        entry = vs_books_add_pool(&process->books, (uint64_t)(uintptr_t)pool, gpu);
    vs_unlock(&process->books_lock);
    return entry;
}

/* Charges the difference between what is held now and what was. */
static void settle_to(struct vs_process *process, int gpu, uint64_t *held, uint64_t now, uint64_t reserved)
{
    vs_lock(&process->books_lock);
    uint64_t before = *held;
    *held = now;
    vs_unlock(&process->books_lock);
    vs_settled(process, gpu, reserved, vs_minus(now, before));
    vs_uncharge(process, gpu, vs_minus(before, now));
}

/* Asks the driver; the pools' lock is held. */
static bool ask_pool(uint64_t handle, int attribute, uint64_t *value)
{
    __typeof__(&cuMemPoolGetAttribute) ask = VS_REAL(cuMemPoolGetAttribute);
    int mode = vs_quiet_begin();
    bool told = ask && handle && ask((CUmemoryPool)(uintptr_t)handle, attribute, value) == CUDA_SUCCESS;
    vs_quiet_end(mode);
    return told;
}

bool vs_pool_ask(struct vs_process *process, unsigned pool, int attribute, uint64_t *value)
{
    vs_lock(&process->pools_lock);
    bool told = ask_pool(process->books.pools[pool].handle, attribute, value);
    vs_unlock(&process->pools_lock);
    return told;
}

void vs_pool_settle(struct vs_process *process, unsigned pool, uint64_t reserved)
{
    struct vs_pool *entry = &process->books.pools[pool];
    vs_lock(&process->pools_lock);
    uint64_t now = entry->reserved;
    if (!ask_pool(entry->handle, CU_POOL_RESERVED, &now)) /* no handle: another thread has destroyed it */
        now = entry->reserved;
    settle_to(process, entry->gpu, &entry->reserved, now, reserved);
    vs_unlock(&process->pools_lock);
}

void vs_pool_refresh(struct vs_process *process, unsigned pool)
{
    if (pool < VS_POOLS && process->books.pools[pool].handle && process->books.pools[pool].gpu >= 0)
        vs_pool_settle(process, pool, 0);
}

void vs_graph_memory_settle(struct vs_process *process, int gpu, uint64_t reserved)
{
    uint64_t now = process->books.graphs[gpu];
    __typeof__(&cuDeviceGetGraphMemAttribute) ask = VS_REAL(cuDeviceGetGraphMemAttribute);
    int device = vs_device_of_gpu(process, gpu);
    int mode = vs_quiet_begin();
    if (ask && device >= 0 && ask(device, CU_GRAPH_MEM_RESERVED, &now) != CUDA_SUCCESS)
        now = process->books.graphs[gpu];
    vs_quiet_end(mode);
    settle_to(process, gpu, &process->books.graphs[gpu], now, reserved);
}

void vs_pools_settle(struct vs_process *process, int gpu)
{
    if (gpu < 0)
        return;
    for (unsigned i = 0; i < VS_POOLS; i++)
        if (process->books.pools[i].handle && process->books.pools[i].gpu == gpu)
            vs_pool_settle(process, i, 0);
    if (process->books.graphs[gpu])
        vs_graph_memory_settle(process, gpu, 0);
}

void vs_pools_trim(struct vs_process *process, int gpu)
{
    __typeof__(&cuMemPoolTrimTo) trim = VS_REAL(cuMemPoolTrimTo);
    __typeof__(&cuDeviceGraphMemTrim) trim_graphs = VS_REAL(cuDeviceGraphMemTrim);
    int device = vs_device_of_gpu(process, gpu);
    if (gpu < 0)
        return;
    for (unsigned i = 0; trim && i < VS_POOLS; i++) {
        vs_lock(&process->pools_lock);
        if (process->books.pools[i].handle && process->books.pools[i].gpu == gpu)
            VS_INSIDE(trim((CUmemoryPool)(uintptr_t)process->books.pools[i].handle, 0));
        vs_unlock(&process->pools_lock);
    }
    if (process->books.graphs[gpu] && trim_graphs && device >= 0)
        VS_INSIDE(trim_graphs(device));
    vs_pools_settle(process, gpu);
}
