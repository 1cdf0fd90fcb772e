/* Paths to plain device memory. Rows end with a nameless one. */
#include "take.h"

static int alloc_bytes(struct piece *piece, uint64_t size)
{
    dev_t_ptr at = 0;
    int result = cu.cuMemAlloc_v2(&at, size);
    piece->a = at;
    return result;
}

static void free_linear(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuMemFree_v2(piece.a);
}

static int alloc(struct take *take, struct piece *piece)
{
    return alloc_bytes(piece, take->chunk);
}

/* One byte over a piece of 2 MiB: the driver takes two of them. */
static int alloc_odd(struct take *take, struct piece *piece)
{
    (void)take;
    return alloc_bytes(piece, (2u << 20) + 1);
}

static int alloc_byte(struct take *take, struct piece *piece)
{
    (void)take;
    return alloc_bytes(piece, 1);
}

/* Rows of `width` bytes that each take `padded` bytes, as many as fill the chunk. */
static int alloc_rows(struct take *take, struct piece *piece, size_t width, size_t padded)
{
    size_t pitch = 0;
    dev_t_ptr at = 0;
    int result = cu.cuMemAllocPitch_v2(&at, &pitch, width, take->chunk / padded, 4);
    piece->a = at;
    return result;
}

static int alloc_pitch(struct take *take, struct piece *piece)
{
    return alloc_rows(take, piece, 4096, 4096);
}

/* Four bytes a row, for which the driver takes 512: asked for is a 128th. */
static int alloc_narrow(struct take *take, struct piece *piece)
{
    return alloc_rows(take, piece, 4, 512);
}

static int managed(struct take *take, struct piece *piece)
{
    dev_t_ptr at = 0;
    int result = cu.cuMemAllocManaged(&at, take->chunk, 1);
    piece->a = at;
    return result;
}

static int managed_touched(struct take *take, struct piece *piece)
{
    int result = managed(take, piece);
    if (result == SUCCESS)
        result = cu.cuMemsetD8_v2(piece->a, 1, take->chunk);
    return result != SUCCESS ? result : cu.cuCtxSynchronize();
}

/* Physical memory by handle, kept as a handle only. */
static int create(struct take *take, struct piece *piece)
{
    struct allocation_properties properties = {.type = 1, .location = {1, take->device}};
    unsigned long long handle = 0;
    int result = cu.cuMemCreate(&handle, take->chunk, &properties, 0);
    piece->a = handle;
    return result;
}

static void release(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuMemRelease(piece.a);
}

/* The handle is released at once: only the mapping keeps the memory. */
static int create_map_release(struct take *take, struct piece *piece)
{
    struct piece handle = {0};
    dev_t_ptr at = 0;
    int result = create(take, &handle);
    if (result != SUCCESS)
        return result;
    result = cu.cuMemAddressReserve(&at, take->chunk, 0, 0, 0);
    if (result == SUCCESS)
        result = cu.cuMemMap(at, take->chunk, 0, handle.a, 0);
    cu.cuMemRelease(handle.a);
    piece->a = at;
    piece->b = take->chunk;
    return result;
}

static void unmap(struct take *take, struct piece piece)
{
    (void)take;
    cu.cuMemUnmap(piece.a, piece.b);
    cu.cuMemAddressFree(piece.a, piece.b);
}

const struct path paths_linear[] = {
    {.name = "alloc", .step = alloc, .undo = free_linear},
    {.name = "alloc-2MiB+1", .step = alloc_odd, .undo = free_linear, .bytes = (2u << 20) + 1},
    {.name = "alloc-1-byte", .step = alloc_byte, .undo = free_linear, .bytes = 1},
    {.name = "alloc-pitch", .step = alloc_pitch, .undo = free_linear},
    {.name = "alloc-pitch-narrow", .step = alloc_narrow, .undo = free_linear},
    {.name = "managed", .step = managed, .undo = free_linear, .loose = true},
    {.name = "managed-touched", .step = managed_touched, .undo = free_linear, .loose = true},
    {.name = "create", .step = create, .undo = release},
    {.name = "create-map-release", .step = create_map_release, .undo = unmap},
    {0},
};
