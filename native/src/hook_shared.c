/* Memory that another process or API has made. Charged once to the container: what a living process of it has handed
 * out is charged there ("borrowed" here); what comes from elsewhere, or outlives its owner, is charged here. */
#include "charge.h"
#include "driver.h"
#include "hooks.h"

/* Notes that memory known by `bytes` is charged to this process. */
static void hand_out(const void *bytes, size_t length)
{
    struct vs_process *process = vs_on();
    int slot = process ? vs_own_slot(process) : -1;
    if (slot >= 0)
        vs_share_note(&process->view, vs_counting(&process->view, (unsigned)slot), vs_share_key(bytes, length), 0);
}

static bool lives(void *view, uint64_t lender) { return vs_owner_slot(view, lender) >= 0; }

static bool lent(void *view, unsigned gpu, uint64_t size)
{
    return vs_share_owner(view, vs_physical_key((int)gpu, size)) != 0;
}

void vs_adopt_orphans(struct vs_process *process)
{
    uint64_t owed[VS_REGION_GPUS] = {0}, borrowed = 0;
    struct vs_lenders lenders = {lives, lent, &process->view};
    vs_lock(&process->books_lock);
    for (int gpu = 0; gpu < (int)VS_REGION_GPUS; gpu++)
        borrowed += process->books.borrowed[gpu];
    if (borrowed)
        vs_books_adopt(&process->books, &vs_own_pages, &lenders, owed);
    vs_unlock(&process->books_lock);
    for (int gpu = 0; gpu < (int)VS_REGION_GPUS; gpu++)
        if (owed[gpu])
            vs_charge(process, gpu, owed[gpu]);
}

uint64_t vs_lender_of(struct vs_process *process, uint64_t key)
{
    uint64_t owner = vs_share_owner(&process->view, key), found;
    int slot = vs_owner_slot(&process->view, owner);
    for (unsigned i = 0; slot >= 0 && i < VS_LENDERS; i++) {
        found = 0;
        if (!atomic_compare_exchange_strong(&process->lenders[i].owner, &found, owner) && found != owner)
            continue;
        atomic_store(&process->lenders[i].slot, slot);
        atomic_store(&process->borrows, 1);
        return owner;
    }
    return 0;
}

void vs_check_lenders(struct vs_process *process)
{
    uint64_t unlent = atomic_load(&vs_head(&process->view)->unlent);
    bool gone = atomic_exchange(&process->unlent, unlent) != unlent;
    for (unsigned i = 0; i < VS_LENDERS; i++) {
        uint64_t owner = atomic_load(&process->lenders[i].owner);
        unsigned slot = (unsigned)atomic_load(&process->lenders[i].slot);
        if (!owner || atomic_load(&vs_slot(&process->view, slot)->owner) == owner ||
            vs_owner_slot(&process->view, owner) >= 0)
            continue;
        gone = true;
        atomic_store(&process->lenders[i].owner, 0);
    }
    if (gone)
        vs_adopt_orphans(process);
}

/* Opened a second time: the address is the same, one more close will come. True: it was. */
static bool opened_again(struct vs_process *process, CUdeviceptr address)
{
    struct vs_block block;
    uint64_t freed;
    bool recorded, again = false;
    vs_lock(&process->books_lock);
    if (vs_books_find(&process->books, address, &block) && (block.kind == VS_IMPORTED || block.kind == VS_BORROWED)) {
        vs_books_take(&process->books, address, &block, &freed);
        block.opened++;
        vs_books_add(&process->books, &vs_own_pages, address, &block, &recorded);
        again = true;
    }
    vs_unlock(&process->books_lock);
    return again;
}

/* Charges opened memory, or notes who is charged. False: the slice is full. */
static bool take_in(struct vs_process *process, CUdeviceptr address, uint64_t key)
{
    CUcontext context;
    int gpu = vs_current_gpu(process, &context);
    vs_adopt_orphans(process);
    if (gpu == VS_NO_CONTEXT || opened_again(process, address))
        return true;
    CUdeviceptr base = address;
    size_t size = 0;
    __typeof__(&cuMemGetAddressRange_v2) range = VS_REAL(cuMemGetAddressRange_v2);
    if (!range || range(&base, &size, address) != CUDA_SUCCESS)
        size = VS_PAGE;
    uint64_t owner = vs_lender_of(process, key);
    struct vs_block block = {.size = size, .context = owner, .gpu = (unsigned)gpu, .kind = VS_BORROWED, .opened = 1};
    if (!owner) {
        block.kind = VS_IMPORTED;
        block.context = (uint64_t)(uintptr_t)context;
        if (!vs_reserve(process, gpu, vs_page_up(size)))
            return false;
    }
    vs_block_made(process, &block, address, owner ? 0 : vs_page_up(size));
    return true;
}

VS_EXPORT CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr ptr)
{
    VS_REAL_CUDA(cuIpcGetMemHandle);
    CUresult result = VS_INSIDE(real(handle, ptr));
    if (result == CUDA_SUCCESS)
        hand_out(handle, sizeof(*handle));
    return result;
}

/* What both forms of opening share, after the driver opened. */
static CUresult opened(CUdeviceptr *ptr, CUdeviceptr made, const CUipcMemHandle *handle)
{
    struct vs_process *process = vs_on();
    __typeof__(&cuIpcCloseMemHandle) close = VS_REAL(cuIpcCloseMemHandle);
    if (process && !take_in(process, made, vs_share_key(handle, sizeof(*handle)))) {
        if (close)
            VS_INSIDE(close(made));
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    *ptr = made;
    return CUDA_SUCCESS;
}

VS_EXPORT CUresult cuIpcOpenMemHandle(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags)
{
    VS_REAL_CUDA(cuIpcOpenMemHandle);
    CUdeviceptr made = 0;
    CUresult result = VS_INSIDE(real(ptr ? &made : NULL, handle, flags));
    return result == CUDA_SUCCESS ? opened(ptr, made, &handle) : result;
}

VS_EXPORT CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *ptr, CUipcMemHandle handle, unsigned int flags)
{
    VS_REAL_CUDA(cuIpcOpenMemHandle_v2);
    CUdeviceptr made = 0;
    CUresult result = VS_INSIDE(real(ptr ? &made : NULL, handle, flags));
    return result == CUDA_SUCCESS ? opened(ptr, made, &handle) : result;
}

/* One close of memory that may be open several times. */
static void closed(struct vs_process *process, CUdeviceptr address)
{
    struct vs_block block;
    uint64_t freed;
    bool recorded;
    if (!vs_block_leaves(process, address, &block, &freed))
        return;
    if (block.opened > 1) {
        block.opened--;
        vs_lock(&process->books_lock);
        vs_books_add(&process->books, &vs_own_pages, address, &block, &recorded);
        vs_unlock(&process->books_lock);
        return;
    }
    vs_uncharge(process, (int)block.gpu, freed);
}

VS_EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr ptr)
{
    VS_REAL_CUDA(cuIpcCloseMemHandle);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(ptr));
    if (process && result == CUDA_SUCCESS)
        closed(process, ptr);
    return result;
}

VS_EXPORT CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData *data, CUdeviceptr ptr)
{
    VS_REAL_CUDA(cuMemPoolExportPointer);
    CUresult result = VS_INSIDE(real(data, ptr));
    if (result == CUDA_SUCCESS)
        hand_out(data, sizeof(*data));
    return result;
}

VS_EXPORT CUresult cuMemPoolImportPointer(CUdeviceptr *ptr, CUmemoryPool pool, CUmemPoolPtrExportData *data)
{
    VS_REAL_CUDA(cuMemPoolImportPointer);
    struct vs_process *process = vs_on();
    CUresult result = VS_INSIDE(real(ptr, pool, data));
    if (process && result == CUDA_SUCCESS && data)
        take_in(process, *ptr, vs_share_key(data, sizeof(*data)));
    return result;
}

VS_EXPORT CUresult cuImportExternalMemory(CUexternalMemory *memory, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC *desc)
{
    VS_REAL_CUDA(cuImportExternalMemory);
    struct vs_process *process = vs_on();
    CUcontext context;
    int gpu = process && desc ? vs_current_gpu(process, &context) : VS_NO_CONTEXT;
    if (gpu == VS_NO_CONTEXT)
        return real(memory, desc);
    struct vs_block block = {.size = desc->size,
                             .context = (uint64_t)(uintptr_t)context,
                             .gpu = (unsigned)gpu,
                             .kind = VS_EXTERNAL};
    uint64_t bytes = vs_page_up(desc->size);
    if (!vs_reserve(process, gpu, bytes))
        return CUDA_ERROR_OUT_OF_MEMORY;
    CUresult result = VS_INSIDE(real(memory, desc));
    if (result == CUDA_SUCCESS)
        vs_object_made(process, &block, (uint64_t)(uintptr_t)*memory, bytes);
    else
        vs_settled(process, gpu, bytes, 0);
    return result;
}

VS_EXPORT CUresult cuDestroyExternalMemory(CUexternalMemory memory)
{
    VS_REAL_CUDA(cuDestroyExternalMemory);
    struct vs_process *process = vs_on();
    struct vs_block block;
    uint64_t freed;
    if (!process || !vs_object_leaves(process, (uint64_t)(uintptr_t)memory, &block, &freed))
        return real(memory);
    CUresult result = VS_INSIDE(real(memory));
    vs_object_left(process, (uint64_t)(uintptr_t)memory, &block, freed, result == CUDA_SUCCESS);
    return result;
}
