/* CUDA arrays. Their layout is the driver's secret, and so is what a plain array takes; but the same array made with
 * deferred mapping takes nothing and tells what it would need. So that is asked first, and where it cannot be, the
 * size is estimated from above. */
#include "charge.h"
#include "driver.h"
#include "hooks.h"

#define TILE_WIDTH 64u  /* bytes */
#define TILE_HEIGHT 8u  /* rows, for arrays of two dimensions or more */
#define ALIGNMENT 512u

void vs_object_made(struct vs_process *process, const struct vs_block *block, uint64_t handle, uint64_t reserved)
{
    bool recorded;
    vs_lock(&process->books_lock);
    uint64_t taken = vs_books_add_object(&process->books, &vs_own_pages, handle, block, &recorded);
    vs_unlock(&process->books_lock);
    vs_settled(process, (int)block->gpu, reserved, taken);
}

bool vs_object_leaves(struct vs_process *process, uint64_t handle, struct vs_block *block, uint64_t *freed)
{
    vs_lock(&process->books_lock);
    bool found = vs_books_take_object(&process->books, handle, block, freed);
    vs_unlock(&process->books_lock);
    return found;
}

void vs_object_left(struct vs_process *process, uint64_t handle, const struct vs_block *block, uint64_t freed,
                    bool gone)
{
    bool recorded;
    if (gone) {
        vs_uncharge(process, (int)block->gpu, freed);
        return;
    }
    vs_lock(&process->books_lock);
    vs_books_add_object(&process->books, &vs_own_pages, handle, block, &recorded);
    vs_unlock(&process->books_lock);
}

/* Bytes of one channel of a format; planar and block formats: what they take at most. */
static uint64_t channel_bytes(int format)
{
    switch (format) {
    case 0x01: case 0x08: return 1;                       /* 8-bit integers */
    case 0x02: case 0x09: case 0x10: return 2;            /* 16-bit integers, half */
    case 0x03: case 0x0a: case 0x20: return 4;            /* 32-bit integers, float */
    case 0xc0: case 0xc6: return 1;                       /* normalised: 8 bits times 1, 2, 4 channels */
    case 0xc1: case 0xc7: case 0xc3: case 0xc9: return 2; /* and 16 bits */
    case 0xc2: case 0xc8: case 0xc4: case 0xca: return 4;
    case 0xc5: case 0xcb: return 8;
    default: return format >= 0x91 && format <= 0x9e ? 1 : 4;
    }
}

static uint64_t times(uint64_t a, uint64_t b) { return b && a > UINT64_MAX / b ? UINT64_MAX : a * b; }

static uint64_t up(uint64_t value, uint64_t step)
{
    return value > UINT64_MAX - step ? UINT64_MAX - step + 1 : (value + step - 1) / step * step;
}

/* One level's size from above. */
static uint64_t level_size(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned level)
{
    uint64_t width = vs_max(desc->Width >> level, 1), height = desc->Height ? vs_max(desc->Height >> level, 1) : 0;
    uint64_t depth = vs_max(desc->Depth, 1);
    uint64_t row = up(times(times(width, channel_bytes(desc->Format)), vs_max(desc->NumChannels, 1)), TILE_WIDTH);
    uint64_t rows = height ? up(height, TILE_HEIGHT) : 1;
    return up(times(times(row, rows), depth), ALIGNMENT);
}

static uint64_t estimate(const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels)
{
    uint64_t size = 0;
    for (unsigned level = 0; level < vs_max(levels, 1) && level < 32; level++)
        size = vs_plus(size, level_size(desc, level));
    return size;
}

/* Asks by a twin with deferred mapping; 0: the driver cannot say. */
static uint64_t ask_array(struct vs_process *process, int gpu, const CUDA_ARRAY3D_DESCRIPTOR *desc)
{
    __typeof__(&cuArray3DCreate_v2) make = VS_REAL(cuArray3DCreate_v2);
    __typeof__(&cuArrayDestroy) destroy = VS_REAL(cuArrayDestroy);
    __typeof__(&cuArrayGetMemoryRequirements) ask = VS_REAL(cuArrayGetMemoryRequirements);
    CUDA_ARRAY3D_DESCRIPTOR twin = *desc;
    CUDA_ARRAY_MEMORY_REQUIREMENTS need = {0};
    CUarray array;
    twin.Flags |= CU_ARRAY_DEFERRED;
    if (!make || !destroy || !ask || make(&array, &twin) != CUDA_SUCCESS)
        return 0;
    if (ask(&need, array, vs_device_of_gpu(process, gpu)) != CUDA_SUCCESS)
        need.size = 0;
    destroy(array);
    return need.size;
}

static uint64_t ask_mipmap(struct vs_process *process, int gpu, const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels)
{
    __typeof__(&cuMipmappedArrayCreate) make = VS_REAL(cuMipmappedArrayCreate);
    __typeof__(&cuMipmappedArrayDestroy) destroy = VS_REAL(cuMipmappedArrayDestroy);
    __typeof__(&cuMipmappedArrayGetMemoryRequirements) ask = VS_REAL(cuMipmappedArrayGetMemoryRequirements);
    CUDA_ARRAY3D_DESCRIPTOR twin = *desc;
    CUDA_ARRAY_MEMORY_REQUIREMENTS need = {0};
    CUmipmappedArray array;
    twin.Flags |= CU_ARRAY_DEFERRED;
    if (!make || !destroy || !ask || make(&array, &twin, levels) != CUDA_SUCCESS)
        return 0;
    if (ask(&need, array, vs_device_of_gpu(process, gpu)) != CUDA_SUCCESS)
        need.size = 0;
    destroy(array);
    return need.size;
}

struct request {
    struct vs_process *process;
    struct vs_block block;
    uint64_t reserved;
};

/* True: ask the driver, then call end. `refused`: return out of memory. Neither: pass through. `levels` 0: a plain
 * array. Arrays whose memory the program maps itself take nothing here. */
static bool begin(struct request *request, const CUDA_ARRAY3D_DESCRIPTOR *desc, unsigned levels, bool *refused)
{
    *refused = false;
    CUcontext context;
    request->process = vs_on();
    if (!request->process || !desc || (desc->Flags & (CU_ARRAY_SPARSE | CU_ARRAY_DEFERRED)))
        return false;
    int gpu = vs_current_gpu(request->process, &context);
    if (gpu == VS_NO_CONTEXT)
        return false;
    if (gpu == VS_UNKNOWN_GPU) {
        *refused = true;
        return false;
    }
    uint64_t size = VS_INSIDE(levels ? ask_mipmap(request->process, gpu, desc, levels)
                                     : ask_array(request->process, gpu, desc));
    request->block = (struct vs_block){.size = size ? size : estimate(desc, levels),
                                       .context = (uint64_t)(uintptr_t)context,
                                       .gpu = (unsigned)gpu,
                                       .kind = VS_PACKED};
    vs_lock(&request->process->books_lock);
    request->reserved = vs_books_packing(&request->process->books, (unsigned)gpu, request->block.size);
    vs_unlock(&request->process->books_lock);
    request->reserved = vs_max(request->reserved, VS_PAGE);
    *refused = !vs_reserve(request->process, gpu, request->reserved);
    return !*refused;
}

static void end(const struct request *request, CUresult result, void *array)
{
    if (result == CUDA_SUCCESS)
        vs_object_made(request->process, &request->block, (uint64_t)(uintptr_t)array, request->reserved);
    else
        vs_settled(request->process, (int)request->block.gpu, request->reserved, 0);
}

/* The array calls differ in descriptor alone. `wide` says it in the widest form. */
#define ARRAY_CREATE(name, descriptor, ...)                                                                           \
    VS_EXPORT CUresult name(CUarray *array, const descriptor *desc)                                                   \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        CUDA_ARRAY3D_DESCRIPTOR wide = {0};                                                                           \
        if (desc)                                                                                                     \
            wide = (CUDA_ARRAY3D_DESCRIPTOR){.Width = desc->Width,                                                    \
                                             .Height = desc->Height,                                                  \
                                             .Format = desc->Format,                                                  \
                                             .NumChannels = desc->NumChannels,                                        \
                                             __VA_ARGS__};                                                            \
        struct request request;                                                                                       \
        bool refused;                                                                                                 \
        if (!begin(&request, desc ? &wide : NULL, 0, &refused))                                                       \
            return refused ? CUDA_ERROR_OUT_OF_MEMORY : real(array, desc);                                            \
        CUresult result = VS_INSIDE(real(array, desc));                                                               \
        end(&request, result, result == CUDA_SUCCESS ? *array : NULL);                                                \
        return result;                                                                                                \
    }

ARRAY_CREATE(cuArrayCreate, CUDA_ARRAY_DESCRIPTOR_v1, .Depth = 0)
ARRAY_CREATE(cuArrayCreate_v2, CUDA_ARRAY_DESCRIPTOR, .Depth = 0)
ARRAY_CREATE(cuArray3DCreate, CUDA_ARRAY3D_DESCRIPTOR_v1, .Depth = desc->Depth, .Flags = desc->Flags)
ARRAY_CREATE(cuArray3DCreate_v2, CUDA_ARRAY3D_DESCRIPTOR, .Depth = desc->Depth, .Flags = desc->Flags)

VS_EXPORT CUresult cuMipmappedArrayCreate(CUmipmappedArray *array, const CUDA_ARRAY3D_DESCRIPTOR *desc,
                                          unsigned int levels)
{
    VS_REAL_CUDA(cuMipmappedArrayCreate);
    struct request request;
    bool refused;
    if (!begin(&request, desc, levels ? levels : 1, &refused))
        return refused ? CUDA_ERROR_OUT_OF_MEMORY : real(array, desc, levels);
    CUresult result = VS_INSIDE(real(array, desc, levels));
    end(&request, result, result == CUDA_SUCCESS ? *array : NULL);
    return result;
}

#define ARRAY_DESTROY(name, type)                                                                                     \
    VS_EXPORT CUresult name(type array)                                                                               \
    {                                                                                                                 \
        VS_REAL_CUDA(name);                                                                                           \
        struct vs_process *process = vs_on();                                                                         \
        struct vs_block block;                                                                                        \
        uint64_t freed;                                                                                               \
        if (!process || !vs_object_leaves(process, (uint64_t)(uintptr_t)array, &block, &freed))                       \
            return real(array);                                                                                       \
        CUresult result = VS_INSIDE(real(array));                                                                     \
        vs_object_left(process, (uint64_t)(uintptr_t)array, &block, freed, result == CUDA_SUCCESS);                   \
        return result;                                                                                                \
    }

ARRAY_DESTROY(cuArrayDestroy, CUarray)
ARRAY_DESTROY(cuMipmappedArrayDestroy, CUmipmappedArray)
