/* Opening a region: what is not one, or is damaged, is refused; what is accepted is safe to use. */
#include "../../src/account.h"
#include "check.h"

static unsigned char *fresh(void)
{
    unsigned char *base = calloc(1, VS_REGION_FILE_SIZE);
    vs_region_format(base, 1);
    return base;
}

/* Why a changed header is refused; NULL: it is not. */
static const char *with(uint32_t offset, uint32_t value, uint64_t size)
{
    unsigned char *base = fresh();
    struct vs_view view;
    memcpy(base + offset, &value, sizeof(value));
    const char *why = vs_region_check(base, size, &view);
    free(base);
    return why;
}

/* A fresh region is accepted as it is, and only in full. */
static void a_fresh_region_is_accepted(void)
{
    CHECK(with(8, VS_REGION_VERSION, VS_REGION_FILE_SIZE) == NULL);
    CHECK(with(8, VS_REGION_VERSION, VS_REGION_FILE_SIZE - 1) != NULL);
    CHECK(with(8, VS_REGION_VERSION, 100) != NULL);
}

/* Foreign, of another version, or with tables that do not fit: refused with the reason. */
static void damage_is_refused(void)
{
    CHECK(strcmp(with(0, 0, VS_REGION_FILE_SIZE), "not a usage region") == 0);
    CHECK(strstr(with(8, VS_REGION_VERSION + 1, VS_REGION_FILE_SIZE), "version") != NULL);
    static const struct { uint32_t offset, value; } damage[] = {
        {12, 0},  {12, 0xffffffff}, {16, 0},  {16, 4095},  {20, 8},   {20, 0xfffffff8}, {24, 0}, {24, 17},
        {28, 64}, {28, 0xfffffff8}, {32, 64}, {32, 1409},  {36, 0},   {36, 2048},       {36, 0xffffffff},
        {40, 0},  {40, 0xfffffff8}, {44, 8},  {44, 0x100}, {80, 256}, {84, 8},          {88, 0xffffffff},
    };
    for (size_t i = 0; i < sizeof(damage) / sizeof(*damage); i++)
        CHECK(with(damage[i].offset, damage[i].value, VS_REGION_FILE_SIZE) != NULL);
}

/* The next version may have larger entries and more of them: this one reads by the strides that the header states. */
static void larger_strides_are_followed(void)
{
    struct vs_region_header head = {
        .magic = VS_REGION_MAGIC,
        .version = VS_REGION_VERSION,
        .header_size = 8192,
        .gpu_offset = 512,
        .gpu_stride = 256,
        .gpu_count = 16,
        .slot_offset = 8192,
        .slot_stride = 4096,
        .slot_count = 10,
        .slot_gpu_offset = 256,
        .slot_gpu_stride = 128,
        .share_offset = 8192 + 10 * 4096,
        .share_stride = 64,
        .share_count = 3,
    };
    uint64_t size = 8192 + 10 * 4096 + 3 * 64;
    unsigned char *base = calloc(1, size);
    struct vs_view view;
    memcpy(base, &head, sizeof(head));
    CHECK(vs_region_check(base, size, &view) == NULL);
    CHECK((unsigned char *)vs_use(&view, 9, 15) == base + 8192 + 9 * 4096 + 256 + 15 * 128);
    CHECK((unsigned char *)vs_gpu(&view, 15) == base + 512 + 15 * 256);
    CHECK(vs_slot_take(&view, 9, 77));
    vs_slot_open(&view, 9);
    CHECK_IS(vs_ask(&view, 9, 15, 5, 5), VS_GRANTED);
    CHECK_IS(vs_total(&view, 15).pending, 5);
    free(base);
}

/* Uses a region as a process would, with whatever bytes it holds. */
static void use(const struct vs_view *view, uint64_t *state)
{
    uint8_t uuid[16] = {(uint8_t)next_random(state)};
    int gpu = vs_gpu_index(view, uuid);
    unsigned slot = (unsigned)below(state, view->slot_count), g = gpu < 0 ? 0 : (unsigned)gpu;
    if (vs_slot_take(view, slot, next_random(state) | 1))
        vs_slot_open(view, slot);
    if (vs_ask(view, slot, g, below(state, GIB), GIB) == VS_GRANTED)
        vs_settle(view, slot, g, below(state, GIB), below(state, GIB));
    vs_release(view, slot, g, next_random(state));
    vs_share_note(view, next_random(state) | 1, next_random(state) | 1, 1);
    vs_share_owner(view, next_random(state) | 1);
    vs_slot_reap(view, slot, atomic_load(&vs_slot(view, slot)->owner));
}

/* Random damage anywhere, random sizes: nothing is read or written outside, and nothing hangs. */
static void random_damage_is_harmless(void)
{
    uint64_t state = 23, accepted = 0;
    for (int round = 0; round < 1500; round++) {
        uint64_t size = below(&state, 3) ? VS_REGION_FILE_SIZE : below(&state, VS_REGION_FILE_SIZE);
        unsigned char *all = fresh(), *base = malloc(size ? size : 1); /* exactly so long, for the sanitizer */
        for (uint64_t i = below(&state, 6); i > 0; i--)
            all[8 + below(&state, 120)] = (unsigned char)(below(&state, 3) ? below(&state, 256) : 0xff);
        for (uint64_t i = below(&state, 200); i > 0; i--)
            all[4096 + below(&state, VS_REGION_FILE_SIZE - 4096)] = (unsigned char)next_random(&state);
        memcpy(base, all, size);
        struct vs_view view;
        if (size && vs_region_check(base, size, &view) == NULL) {
            accepted++;
            for (int i = 0; i < 3; i++)
                use(&view, &state);
        }
        free(all);
        free(base);
    }
    CHECK(accepted > 20);
}

int main(void)
{
    RUN(a_fresh_region_is_accepted);
    RUN(damage_is_refused);
    RUN(larger_strides_are_followed);
    RUN(random_damage_is_harmless);
    return 0;
}
