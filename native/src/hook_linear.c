/* Linear memory: cuMemAlloc and its like. Reserved by whole pages, settled by the pages that were touched. */
#include "charge.h"
#include "driver.h"
#include "hooks.h"

/* Records a block that the driver has just given and settles its reservation. */
void vs_block_made(struct vs_process *process, const struct vs_block *block, uint64_t address, uint64_t reserved)
{
    bool recorded;
    vs_lock(&process->books_lock);
    uint64_t taken = vs_books_add(&process->books, &vs_own_pages, address, block, &recorded);
    vs_unlock(&process->books_lock);
    vs_settled(process, (int)block->gpu, reserved, taken);
}

/* One linear allocation: what to reserve, and where. `gpu` VS_NO_CONTEXT: the driver will say what is wrong. */
struct request {
    struct vs_process *process;
    CUcontext context;
    int gpu;
    bool managed;
    uint64_t reserved;
};

static uint64_t managed_needs(struct vs_process *process, int gpu, uint64_t size)
{
    vs_lock(&process->books_lock);
    uint64_t needs = vs_books_managed(&process->books, (unsigned)gpu, size);
    vs_unlock(&process->books_lock);
    return needs;
}

/* True: ask the driver and call settle. `refused`: return out of memory. Neither: pass through. */
static bool ask(struct request *request, uint64_t size, bool *refused)
{
    *refused = false;
    request->process = vs_on();
    if (VS_UNLIKELY(!request->process))
        return false;
    request->gpu = vs_current_gpu(request->process, &request->context);
    if (VS_UNLIKELY(request->gpu == VS_NO_CONTEXT))
        return false;
    bool slabs = VS_UNLIKELY(request->managed) && request->gpu >= 0;
    request->reserved = slabs ? managed_needs(request->process, request->gpu, size) : vs_page_up(size);
    *refused = !vs_reserve(request->process, request->gpu, request->reserved);
    return !*refused;
}

static void settle(const struct request *request, CUresult result, uint64_t address, uint64_t size, unsigned kind)
{
    if (VS_UNLIKELY(result != CUDA_SUCCESS)) {
        vs_settled(request->process, request->gpu, request->reserved, 0);
        return;
    }
    struct vs_block block = {
        .size = size, .context = (uint64_t)(uintptr_t)request->context, .gpu = (unsigned)request->gpu, .kind = kind};
    vs_block_made(request->process, &block, address, request->reserved);
}

VS_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr *ptr, size_t size)
{
    VS_REAL_CUDA(cuMemAlloc_v2);
    struct request request = {0};
    bool refused;
    if (!ask(&request, size, &refused))
        return refused ? CUDA_ERROR_OUT_OF_MEMORY : real(ptr, size);
    CUresult result = VS_INSIDE(real(ptr, size));
    settle(&request, result, result == CUDA_SUCCESS ? *ptr : 0, size, VS_LINEAR);
    return result;
}

VS_EXPORT CUresult cuMemAlloc(CUdeviceptr_v1 *ptr, unsigned int size)
{
    VS_REAL_CUDA(cuMemAlloc);
    struct request request = {0};
    bool refused;
    if (!ask(&request, size, &refused))
        return refused ? CUDA_ERROR_OUT_OF_MEMORY : real(ptr, size);
    CUresult result = VS_INSIDE(real(ptr, size));
    settle(&request, result, result == CUDA_SUCCESS ? *ptr : 0, size, VS_LINEAR);
    return result;
}

VS_EXPORT CUresult cuMemAllocManaged(CUdeviceptr *ptr, size_t size, unsigned int flags)
{
    VS_REAL_CUDA(cuMemAllocManaged);
    struct request request = {.managed = true};
    bool refused;
    if (!ask(&request, size, &refused))
        return refused ? CUDA_ERROR_OUT_OF_MEMORY : real(ptr, size, flags);
    CUresult result = VS_INSIDE(real(ptr, size, flags));
    settle(&request, result, result == CUDA_SUCCESS ? *ptr : 0, size, VS_MANAGED);
    return result;
}

/* Rows are padded to a pitch of at least 512 bytes; wide ones to a multiple of it. */
static uint64_t pitched(uint64_t width, uint64_t height)
{
    uint64_t pitch = width > UINT64_MAX - 511 ? width : (width + 511) / 512 * 512;
    return height && pitch > UINT64_MAX / height ? UINT64_MAX : pitch * height;
}

VS_EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr *ptr, size_t *pitch, size_t width, size_t height,
                                      unsigned int element)
{
    VS_REAL_CUDA(cuMemAllocPitch_v2);
    struct request request = {0};
    bool refused;
    if (!ask(&request, pitched(width, height), &refused))
        return refused ? CUDA_ERROR_OUT_OF_MEMORY : real(ptr, pitch, width, height, element);
    CUresult result = VS_INSIDE(real(ptr, pitch, width, height, element));
    bool done = result == CUDA_SUCCESS;
    settle(&request, result, done ? *ptr : 0, done ? *pitch * height : 0, VS_LINEAR);
    return result;
}

VS_EXPORT CUresult cuMemAllocPitch(CUdeviceptr_v1 *ptr, unsigned int *pitch, unsigned int width, unsigned int height,
                                   unsigned int element)
{
    VS_REAL_CUDA(cuMemAllocPitch);
    struct request request = {0};
    bool refused;
    if (!ask(&request, pitched(width, height), &refused))
        return refused ? CUDA_ERROR_OUT_OF_MEMORY : real(ptr, pitch, width, height, element);
    CUresult result = VS_INSIDE(real(ptr, pitch, width, height, element));
    bool done = result == CUDA_SUCCESS;
    settle(&request, result, done ? *ptr : 0, done ? (uint64_t)*pitch * height : 0, VS_LINEAR);
    return result;
}

/* Takes a block out before the driver frees it: afterwards another thread may be given the same address. */
bool vs_block_leaves(struct vs_process *process, uint64_t address, struct vs_block *block, uint64_t *freed)
{
    vs_lock(&process->books_lock);
    bool found = vs_books_take(&process->books, address, block, freed);
    vs_unlock(&process->books_lock);
    return found;
}

/* Ends what vs_block_leaves began: gives the bytes back, or the block if the driver kept it. */
void vs_block_left(struct vs_process *process, uint64_t address, const struct vs_block *block, uint64_t freed,
                   bool gone)
{
    bool recorded;
    if (!gone) {
        vs_lock(&process->books_lock);
        vs_books_add(&process->books, &vs_own_pages, address, block, &recorded);
        vs_unlock(&process->books_lock);
        return;
    }
    vs_uncharge(process, (int)block->gpu, freed);
}

VS_EXPORT CUresult cuMemFree_v2(CUdeviceptr ptr)
{
    VS_REAL_CUDA(cuMemFree_v2);
    struct vs_process *process = vs_on();
    struct vs_block block;
    uint64_t freed;
    if (!process || !vs_block_leaves(process, ptr, &block, &freed)) {
        if (process) /* pool memory may be freed like this too */
            atomic_store_explicit(&process->pools_stale, 1, memory_order_relaxed);
        return real(ptr);
    }
    CUresult result = VS_INSIDE(real(ptr));
    vs_block_left(process, ptr, &block, freed, result == CUDA_SUCCESS);
    return result;
}

VS_EXPORT CUresult cuMemFree(CUdeviceptr_v1 ptr)
{
    VS_REAL_CUDA(cuMemFree);
    struct vs_process *process = vs_on();
    struct vs_block block;
    uint64_t freed;
    if (!process || !vs_block_leaves(process, ptr, &block, &freed))
        return real(ptr);
    CUresult result = VS_INSIDE(real(ptr));
    vs_block_left(process, ptr, &block, freed, result == CUDA_SUCCESS);
    return result;
}
