/* Promises: what the driver will take of its own accord later, for globals, heaps and stacks. Charged until a measurement
 * finds it taken (measure.c), or until whatever it was for is gone. Contract in driver.h. */
#include "driver.h"

#include "charge.h"

void vs_promise(struct vs_process *process, int gpu, CUcontext context, uint64_t name, uint64_t bytes)
{
    struct vs_block block = {.size = 0};
    uint64_t freed;
    bool recorded;
    vs_lock(&process->books_lock);
    vs_books_take_object(&process->books, name, &block, &freed);
    uint64_t before = block.kind == VS_PROMISED ? block.size : 0;
    block = (struct vs_block){.size = vs_plus(before, bytes),
                              .context = (uint64_t)(uintptr_t)context,
                              .gpu = (unsigned)gpu,
                              .kind = VS_PROMISED};
    vs_books_add_object(&process->books, &vs_own_pages, name, &block, &recorded);
    vs_unlock(&process->books_lock);
    atomic_fetch_add(&process->promised[gpu], bytes);
}

void vs_promise_less(struct vs_process *process, uint64_t name, uint64_t bytes)
{
    struct vs_block block;
    uint64_t freed;
    bool recorded;
    vs_lock(&process->books_lock);
    if (vs_books_find_object(&process->books, name, &block) && block.kind == VS_PROMISED) {
        vs_books_take_object(&process->books, name, &block, &freed);
        block.size = vs_minus(block.size, bytes);
        if (block.size)
            vs_books_add_object(&process->books, &vs_own_pages, name, &block, &recorded);
    }
    vs_unlock(&process->books_lock);
}

void vs_promises_trim(struct vs_process *process, int gpu)
{
    vs_lock(&process->books_lock);
    uint64_t most = vs_books_promised(&process->books, (unsigned)gpu);
    vs_unlock(&process->books_lock);
    uint64_t promised = atomic_load(&process->promised[gpu]), back = vs_minus(promised, most);
    if (back && atomic_compare_exchange_strong(&process->promised[gpu], &promised, promised - back))
        vs_uncharge(process, gpu, back);
}
