/* Arrays and mipmapped arrays: rows are padded to 512 bytes, the whole comes from the
 * same heap as cuMemAlloc's memory. Sparse and deferred arrays take none. */
#define _GNU_SOURCE
#include "driver.h"

#include <stdlib.h>
#include <string.h>

struct array_description { size_t width, height; int format; unsigned channels; };
struct array3d_description {
    size_t width, height, depth;
    int format;
    unsigned channels, flags;
};
struct requirements { size_t size, alignment; unsigned reserved[4]; };

enum { CUBEMAP = 4, SPARSE = 0x40, DEFERRED = 0x80, MOST_LEVELS = 32 };

/* An array, or a mipmapped one with its levels. */
struct fake_array {
    struct array3d_description about;
    struct fake_context *context;
    int device;
    CUdeviceptr memory;        /* 0: none of its own */
    bool level;                /* belongs to a mipmapped array */
    struct fake_array *levels[MOST_LEVELS];
};

/* Bytes of one channel; 0 for a format that is not simulated. */
static uint64_t channel_bytes(int format)
{
    switch (format) {
    case 0x01: case 0x08: return 1;
    case 0x02: case 0x09: case 0x10: return 2;
    case 0x03: case 0x0a: case 0x20: return 4;
    default: return 0;
    }
}

/* Device bytes of one level; UINT64_MAX if they cannot be counted. */
static uint64_t array_bytes(const struct array3d_description *about)
{
    uint64_t row = rounded(about->width * channel_bytes(about->format) * about->channels, 512);
    uint64_t rows = (about->height ? about->height : 1) * (about->depth ? about->depth : 1), size;
    return __builtin_mul_overflow(row, rows, &size) ? UINT64_MAX : rounded(size, 65536);
}

static bool valid(const struct array3d_description *about)
{
    unsigned c = about->channels;
    return about->width > 0 && channel_bytes(about->format) > 0 && (c == 1 || c == 2 || c == 4);
}

/* Makes an array that charges `bytes`. */
static CUresult make(const struct array3d_description *about, uint64_t bytes,
                     struct fake_array **out)
{
    struct fake_context *context;
    if (!out || !about || !valid(about))
        return CUDA_ERROR_INVALID_VALUE;
    CUresult result = driver_enter_context(&context);
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_array *array = calloc(1, sizeof *array);
    *array = (struct fake_array){.about = *about, .context = context, .device = context->device};
    if (!(about->flags & (SPARSE | DEFERRED)))
        result = heap_take(context, bytes, &array->memory);
    if (result == CUDA_SUCCESS)
        *out = array;
    else
        free(array);
    return driver_leave(result);
}

API CUresult cuArray3DCreate_v2(CUarray *out, const struct array3d_description *about)
{
    return make(about, about ? array_bytes(about) : 0, out);
}

API CUresult cuArrayCreate_v2(CUarray *out, const struct array_description *about)
{
    if (!about)
        return CUDA_ERROR_INVALID_VALUE;
    struct array3d_description full = {.width = about->width, .height = about->height,
                                       .format = about->format, .channels = about->channels};
    return make(&full, array_bytes(&full), out);
}

API CUresult cuArrayDestroy(CUarray array)
{
    CUresult result = array && !array->level ? driver_enter() : CUDA_ERROR_INVALID_HANDLE;
    if (result != CUDA_SUCCESS)
        return result;
    struct fake_range *range = array->memory ? range_at(array->memory) : NULL;
    if (range)
        range_end(range);
    free(array);
    return driver_leave(CUDA_SUCCESS);
}

/* Half of each side, at least one; layers stay. */
static struct array3d_description next_level(struct array3d_description about)
{
    about.width = about.width > 1 ? about.width / 2 : 1;
    about.height = about.height > 1 ? about.height / 2 : about.height;
    if (!(about.flags & 1))
        about.depth = about.depth > 1 ? about.depth / 2 : about.depth;
    return about;
}

API CUresult cuMipmappedArrayCreate(CUmipmappedArray *out, const struct array3d_description *about,
                                    unsigned levels)
{
    if (!about || levels == 0 || levels > MOST_LEVELS)
        return CUDA_ERROR_INVALID_VALUE;
    struct array3d_description level = *about;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < levels; i++, level = next_level(level))
        bytes = array_bytes(&level) == UINT64_MAX ? UINT64_MAX : bytes + array_bytes(&level);
    CUresult result = make(about, bytes, out);
    level = *about;
    for (unsigned i = 0; result == CUDA_SUCCESS && i < levels; i++, level = next_level(level)) {
        struct fake_array *part = calloc(1, sizeof *part);
        *part = (struct fake_array){.about = level, .device = (*out)->device, .level = true};
        (*out)->levels[i] = part;
    }
    return result;
}

API CUresult cuMipmappedArrayGetLevel(CUarray *out, CUmipmappedArray array, unsigned level)
{
    if (!array || level >= MOST_LEVELS || !array->levels[level])
        return CUDA_ERROR_INVALID_VALUE;
    *out = array->levels[level];
    return CUDA_SUCCESS;
}

API CUresult cuMipmappedArrayDestroy(CUmipmappedArray array)
{
    if (!array)
        return CUDA_ERROR_INVALID_HANDLE;
    for (int i = 0; i < MOST_LEVELS; i++)
        free(array->levels[i]);
    return cuArrayDestroy(array);
}

API CUresult cuArrayGetMemoryRequirements(struct requirements *out, CUarray array, CUdevice device)
{
    (void)device;
    if (!array)
        return CUDA_ERROR_INVALID_HANDLE;
    memset(out, 0, sizeof *out);
    out->size = array_bytes(&array->about);
    out->alignment = 65536;
    return CUDA_SUCCESS;
}

API CUresult cuMipmappedArrayGetMemoryRequirements(struct requirements *out, CUmipmappedArray array,
                                                   CUdevice device)
{
    CUresult result = cuArrayGetMemoryRequirements(out, array, device);
    for (int i = 1; result == CUDA_SUCCESS && i < MOST_LEVELS && array->levels[i]; i++)
        out->size += array_bytes(&array->levels[i]->about);
    return result;
}

API CUresult cuArray3DGetDescriptor_v2(struct array3d_description *out, CUarray array)
{
    *out = array->about;
    return CUDA_SUCCESS;
}

API CUresult cuArrayGetDescriptor_v2(struct array_description *out, CUarray array)
{
    *out = (struct array_description){array->about.width, array->about.height,
                                      array->about.format, array->about.channels};
    return CUDA_SUCCESS;
}
