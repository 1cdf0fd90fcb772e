/* Physical memory that the program maps itself, and such memory of other processes. Charged when it is made (of
 * another container's: when it is first mapped, since only then its size is known), given back when neither handle
 * nor mapping leads to it. */
#include "charge.h"
#include "driver.h"
#include "hooks.h"

void vs_uncharge_all(struct vs_process *process, const uint64_t freed[VS_REGION_GPUS])
{
    for (int gpu = 0; gpu < (int)VS_REGION_GPUS; gpu++)
        vs_uncharge(process, gpu, freed[gpu]);
}

/* What two processes agree on about memory that goes from one to the other. */
uint64_t vs_physical_key(int gpu, uint64_t size)
{
    uint64_t words[3] = {UINT64_C(0x7068797369636c), (uint64_t)gpu, size};
    return vs_share_key(words, sizeof(words));
}

VS_EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *prop,
                               unsigned long long flags)
{
    VS_REAL_CUDA(cuMemCreate);
    struct vs_process *process = vs_on();
    int gpu = process && prop ? vs_gpu_of_location(process, &prop->location) : VS_NO_CONTEXT;
    if (gpu == VS_NO_CONTEXT)
        return real(handle, size, prop, flags);
    uint64_t bytes = vs_page_up(size);
    if (!vs_reserve(process, gpu, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = VS_INSIDE(real(handle, size, prop, flags));
    vs_settled(process, gpu, bytes, result == CUDA_SUCCESS ? bytes : 0);
    if (result == CUDA_SUCCESS) {
        vs_lock(&process->books_lock);
        vs_books_physical(&process->books, &vs_own_pages, *handle, bytes, (unsigned)gpu, VS_LINEAR);
        vs_unlock(&process->books_lock);
    }
    return result;
}

/* Whether an allocation with this key is still lent. */
static bool still_lent(void *context, uint64_t key)
{
    const struct vs_books *books = context;
    struct vs_entry *entry;
    for (uint64_t at = 0; (entry = vs_map_next(&books->allocations, &at)) != NULL;)
        if ((entry->c & VS_LENT) && vs_physical_key((int)(entry->c & 0xff), entry->a) == key)
            return true;
    return false;
}

/* After memory was given up: what was lent of it is charged to whoever borrowed it, from now on. With the books' lock. */
static void give_up_lent(struct vs_process *process, const uint64_t freed[VS_REGION_GPUS])
{
    int slot = process->books.lends ? vs_own_slot(process) : -1;
    uint64_t sum = 0;
    for (int gpu = 0; slot >= 0 && gpu < (int)VS_REGION_GPUS; gpu++)
        sum += freed[gpu];
    if (sum)
        vs_share_drop(&process->view, vs_counting(&process->view, (unsigned)slot), still_lent, &process->books);
}

VS_EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    VS_REAL_CUDA(cuMemRelease);
    struct vs_process *process = vs_on();
    if (!process)
        return real(handle);
    /* The books first, under their lock until the driver has answered: it may give the value out again at once. */
    uint64_t freed[VS_REGION_GPUS] = {0};
    vs_lock(&process->books_lock);
    CUresult result = VS_INSIDE(real(handle));
    if (result == CUDA_SUCCESS)
        vs_books_unref(&process->books, handle, freed);
    give_up_lent(process, freed);
    vs_unlock(&process->books_lock);
    vs_uncharge_all(process, freed);
    return result;
}

/* Charges memory of another process at its first mapping. False: refused. */
static bool charge_import(struct vs_process *process, CUmemGenericAllocationHandle handle, uint64_t size)
{
    unsigned gpu;
    vs_lock(&process->books_lock);
    bool open = vs_books_is_unsized(&process->books, handle, &gpu);
    vs_unlock(&process->books_lock);
    if (!open)
        return true;
    vs_adopt_orphans(process);
    uint64_t bytes = vs_page_up(size), owner = vs_lender_of(process, vs_physical_key((int)gpu, bytes));
    if (!owner && !vs_reserve(process, (int)gpu, bytes))
        return false;
    vs_lock(&process->books_lock);
    bool first = vs_books_size(&process->books, handle, bytes, owner ? VS_BORROWED : VS_IMPORTED);
    vs_unlock(&process->books_lock);
    if (!owner)
        vs_settled(process, (int)gpu, bytes, first ? bytes : 0);
    return true;
}

VS_EXPORT CUresult cuMemMap(CUdeviceptr ptr, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                            unsigned long long flags)
{
    VS_REAL_CUDA(cuMemMap);
    struct vs_process *process = vs_on();
    if (!process)
        return real(ptr, size, offset, handle, flags);
    if (!charge_import(process, handle, vs_plus(offset, size)))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = VS_INSIDE(real(ptr, size, offset, handle, flags));
    if (result == CUDA_SUCCESS) {
        vs_lock(&process->books_lock);
        vs_books_map(&process->books, &vs_own_pages, ptr, size, handle);
        vs_unlock(&process->books_lock);
    }
    return result;
}

VS_EXPORT CUresult cuMemUnmap(CUdeviceptr ptr, size_t size)
{
    VS_REAL_CUDA(cuMemUnmap);
    struct vs_process *process = vs_on();
    if (!process)
        return real(ptr, size);
    uint64_t freed[VS_REGION_GPUS] = {0};
    vs_lock(&process->books_lock);
    CUresult result = VS_INSIDE(real(ptr, size));
    if (result == CUDA_SUCCESS)
        vs_books_unmap(&process->books, ptr, size, freed);
    give_up_lent(process, freed);
    vs_unlock(&process->books_lock);
    vs_uncharge_all(process, freed);
    return result;
}

VS_EXPORT CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *addr)
{
    VS_REAL_CUDA(cuMemRetainAllocationHandle);
    struct vs_process *process = vs_on();
    if (!process)
        return real(handle, addr);
    vs_lock(&process->books_lock);
    CUresult result = VS_INSIDE(real(handle, addr));
    if (result == CUDA_SUCCESS)
        vs_books_retain(&process->books, &vs_own_pages, *handle, (uint64_t)(uintptr_t)addr);
    vs_unlock(&process->books_lock);
    return result;
}

VS_EXPORT CUresult cuMemExportToShareableHandle(void *os_handle, CUmemGenericAllocationHandle handle, int type,
                                                unsigned long long flags)
{
    VS_REAL_CUDA(cuMemExportToShareableHandle);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(os_handle, handle, type, flags));
    if (!process || result != CUDA_SUCCESS)
        return result;
    unsigned gpu;
    uint64_t size;
    vs_lock(&process->books_lock);
    bool known = vs_books_physical_size(&process->books, handle, &size, &gpu);
    vs_books_lend(&process->books, handle);
    vs_unlock(&process->books_lock);
    int slot = vs_own_slot(process);
    if (known && slot >= 0)
        vs_share_note(&process->view, vs_counting(&process->view, (unsigned)slot), vs_physical_key((int)gpu, size), size);
    return result;
}

VS_EXPORT CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *os_handle, int type)
{
    VS_REAL_CUDA(cuMemImportFromShareableHandle);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(handle, os_handle, type));
    __typeof__(&cuMemGetAllocationPropertiesFromHandle) ask = VS_REAL(cuMemGetAllocationPropertiesFromHandle);
    CUmemAllocationProp prop;
    if (!process || result != CUDA_SUCCESS || !ask || ask(&prop, *handle) != CUDA_SUCCESS)
        return result;
    int gpu = vs_gpu_of_location(process, &prop.location);
    if (gpu < 0)
        return result;
    vs_lock(&process->books_lock);
    if (!vs_books_physical_again(&process->books, *handle))
        vs_books_physical(&process->books, &vs_own_pages, *handle, 0, (unsigned)gpu, VS_IMPORTED);
    vs_unlock(&process->books_lock);
    return result;
}
