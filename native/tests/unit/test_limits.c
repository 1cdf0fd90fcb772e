/* Limits: reading what people and the node wrote, and failing closed on the rest. */
#include "../../src/limits.h"
#include "check.h"

#define UUID "GPU-00112233-4455-6677-8899-aabbccddeeff"
#define OTHER "GPU-ffeeddcc-bbaa-9988-7766-554433221100"

static const uint8_t uuid[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};

static struct vs_limits read(const char *text)
{
    struct vs_limits limits;
    vs_limits_parse(text, strlen(text), &limits);
    return limits;
}

/* The limit that a text gives the test's GPU; UINT64_MAX: no line. */
static uint64_t memory_in(const char *text)
{
    struct vs_limits limits = read(text);
    const struct vs_limit *found = vs_limits_find(&limits, uuid);
    return found ? found->memory : UINT64_MAX;
}

/* A line of the contract is read as it stands. */
static void a_line_is_read(void)
{
    struct vs_limits limits = read(UUID " memory=2147483648 cores=25\n");
    CHECK_IS(limits.count, 1);
    CHECK(memcmp(limits.gpu[0].uuid, uuid, 16) == 0);
    CHECK_IS(limits.gpu[0].memory, 2 * GIB);
    CHECK_IS(limits.gpu[0].cores, 25);
}

/* Order, blanks, comments, unknown words, a missing last newline do not matter. */
static void forms_do_not_matter(void)
{
    CHECK_IS(memory_in("\n# note\n  cores=1\n" UUID "\tcores=3  new=thing memory=5\r\n"), 5);
    CHECK_IS(memory_in(UUID " memory=7"), 7);
    CHECK_IS(memory_in(OTHER " memory=1\n" UUID " memory=9"), 9);
}

/* What cannot be read gives its GPU nothing. */
static void broken_lines_fail_closed(void)
{
    static const char *const broken[] = {
        UUID,
        UUID " memory=",
        UUID " memory=-1",
        UUID " memory=x",
        UUID " memory=1 memory=2",
        UUID " cores=10",
        UUID " memory=1 cores=101",
        UUID " memory=1 cores=",
        UUID " memory=1 cores=1 cores=1",
        UUID " memory=1 stray",
        UUID " memory=50%",
        UUID " memory=99999999999999999999999",
        UUID " memory=18446744073709551615Ki",
    };
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++)
        CHECK_IS(memory_in(broken[i]), 0);
}

/* Two lines for one GPU: neither is believed. */
static void two_lines_fail_closed(void) { CHECK_IS(memory_in(UUID " memory=1\n" UUID " memory=2\n"), 0); }

/* A GPU without a line has none; lines beyond the table are as if absent. */
static void too_many_lines_are_absent(void)
{
    char text[4096] = "", line[128];
    for (int i = 0; i < 20; i++) {
        snprintf(line, sizeof(line), "GPU-%032x memory=%d\n", i, i + 1);
        strcat(text, line);
    }
    struct vs_limits limits = read(text);
    CHECK_IS(limits.count, VS_REGION_GPUS);
    CHECK(vs_limits_find(&limits, uuid) == NULL);
}

/* Sizes: the suffixes, percents, and nothing else. */
static void sizes_are_read(void)
{
    static const struct { const char *text; uint64_t value; } good[] = {
        {"0", 0}, {"2048", 2048}, {"3k", 3000}, {"2Ki", 2048}, {"1536Mi", 1536 * MIB}, {"2Gi", 2 * GIB},
        {"1G", 1000000000}, {"1Ti", 1024 * GIB}, {"20%", 200}, {"100%", 1000}, {"0%", 0}, {"12.5%", 125},
    };
    static const char *const bad[] = {"", "Gi", "1.5Gi", "-1", "101%", "1 Gi", "1GiB", "1g", "%", "0x10", "1%%", "1.25%", "100.1%", "1.%", "1.5"};
    uint64_t value;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        CHECK(vs_size_parse(good[i].text, strlen(good[i].text), 1000, &value));
        CHECK_IS(value, good[i].value);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        value = 77;
        CHECK(!vs_size_parse(bad[i], strlen(bad[i]), 1000, &value));
        CHECK_IS(value, 77);
    }
}

/* A percentage of a large GPU neither wraps nor rounds up. */
static void percents_are_exact(void)
{
    uint64_t value;
    CHECK(vs_size_parse("33%", 3, UINT64_MAX, &value));
    CHECK_IS(value, UINT64_MAX / 1000 * 330 + UINT64_MAX % 1000 * 330 / 1000);
}

/* UUID text and bytes lead to each other. */
static void uuids_round_trip(void)
{
    char text[VS_UUID_TEXT];
    uint8_t back[16];
    vs_uuid_format(uuid, text);
    CHECK(strcmp(text, UUID) == 0);
    CHECK(vs_uuid_parse(text, strlen(text), back) && memcmp(back, uuid, 16) == 0);
    CHECK(!vs_uuid_parse("GPU-0011", 8, back));
    CHECK(!vs_uuid_parse("MIG-00112233445566778899aabbccddeeff", 36, back));
    CHECK(!vs_uuid_parse(UUID "0", strlen(UUID) + 1, back));
}

/* No text, however mangled, gives a GPU more than the largest size that stands in it, or harms the reader. */
static void mangled_texts_are_harmless(void)
{
    static const char seed_text[] = UUID " memory=4096 cores=25\n# x\n" OTHER " memory=512 cores=0\n";
    static const char letters[] = " \n\t=#-GPU0123456789abcdefmemorycores%KMi\0\xff";
    uint64_t state = 42;
    for (int round = 0; round < 60000; round++) {
        size_t size = sizeof(seed_text) - 1;
        char *text = malloc(size); /* exactly as long as it says: a byte beyond is the sanitizer's */
        memcpy(text, seed_text, size);
        for (uint64_t i = below(&state, 8); i > 0; i--)
            text[below(&state, size)] = letters[below(&state, sizeof(letters))];
        size = below(&state, 4) ? size : below(&state, size);
        struct vs_limits limits;
        vs_limits_parse(text, size, &limits);
        CHECK(limits.count <= VS_REGION_GPUS);
        for (unsigned i = 0; i < limits.count; i++)
            CHECK(limits.gpu[i].cores <= 100);
        free(text);
    }
}

int main(void)
{
    RUN(a_line_is_read);
    RUN(forms_do_not_matter);
    RUN(broken_lines_fail_closed);
    RUN(two_lines_fail_closed);
    RUN(too_many_lines_are_absent);
    RUN(sizes_are_read);
    RUN(percents_are_exact);
    RUN(uuids_round_trip);
    RUN(mangled_texts_are_harmless);
    return 0;
}
