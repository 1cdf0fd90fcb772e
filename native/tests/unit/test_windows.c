/* Windows: reading a timetable that may be anything, and finding one's turn in it. */
#include "../../src/windows.h"
#include "check.h"

#define MS UINT64_C(1000000)

static bool parse(const char *text, const char *tenant, struct vs_windows *out)
{
    return vs_windows_parse(text, strlen(text), tenant, out);
}

static const char *const TABLE = "format 1\nepoch 5000000\ncycle 40000000\nwindow 1/a 0 10000000\n"
                                 "window 2/b 30000000 6000000\nwindow 2/b 10000000 2000000\nrest 12000000 18000000\n";

/* A tenant finds its own windows, in order, and those without a share the rest. */
static void a_table_is_read(void)
{
    struct vs_windows table;
    CHECK(parse(TABLE, "2/b", &table));
    CHECK_IS(table.count, 2);
    CHECK_IS(table.at[0].start, 10 * MS);
    CHECK_IS(table.at[1].end, 36 * MS);
    CHECK(parse(TABLE, NULL, &table));
    CHECK_IS(table.at[0].start, 12 * MS);
    CHECK(!parse(TABLE, "1/", &table));
    CHECK(!parse(TABLE, "3/c", &table));
}

/* What cannot be read leaves the table that was there. */
static void broken_tables_change_nothing(void)
{
    static const char *const broken[] = {
        "",
        "window 1/a 0 1\n",
        "cycle 0\nwindow 1/a 0 1\n",
        "cycle 10\nwindow 1/a 0 11\n",
        "cycle 10\nwindow 1/a 5\n",
        "cycle 10\nwindow 1/a x 1\n",
        "cycle 10\nwindow 1/a 0 5\nwindow 1/a 4 2\n",
        "cycle 99999999999999999999\nwindow 1/a 0 1\n",
        "format 2\ncycle 10\nwindow 1/a 0 1\n",
    };
    struct vs_windows table = {.cycle = 7};
    for (unsigned i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        CHECK(!parse(broken[i], "1/a", &table));
        CHECK_IS(table.cycle, 7);
    }
    CHECK(parse("new words\ncycle 10\nwindow 1/a 0 5 later\n", "1/a", &table)); /* a later version's additions */
}

/* The window that contains a moment, or the next one; also before the epoch. */
static void turns_recur(void)
{
    struct vs_windows table;
    struct vs_span span;
    CHECK(parse(TABLE, "1/a", &table));
    CHECK(vs_windows_at(&table, 405 * MS, &span));
    CHECK_IS(span.start, 405 * MS);
    CHECK(vs_windows_at(&table, 415 * MS, &span)); /* ends are not part of a window */
    CHECK_IS(span.start, 445 * MS);
    CHECK(vs_windows_at(&table, 1 * MS, &span));
    CHECK_IS(span.start, 5 * MS);
    table.count = 0;
    CHECK(!vs_windows_at(&table, 1, &span));
}

/* Window time adds up over any interval, whole cycles and parts. */
static void time_adds_up(void)
{
    struct vs_windows table;
    uint64_t random = 1;
    CHECK(parse(TABLE, "2/b", &table));
    CHECK_IS(vs_windows_time(&table, 5 * MS, 5 * MS + 400 * MS), 80 * MS);
    CHECK_IS(vs_windows_time(&table, 16 * MS, 36 * MS), 2 * MS);
    for (int i = 0; i < 2000; i++) {
        uint64_t from = 1000 * MS + below(&random, 200 * MS), middle = from + below(&random, 100 * MS);
        uint64_t to = middle + below(&random, 100 * MS);
        CHECK_IS(vs_windows_time(&table, from, to),
                 vs_windows_time(&table, from, middle) + vs_windows_time(&table, middle, to));
    }
}

/* A table of one's own is a share of a cycle that suits the longest unit. */
static void an_own_table_keeps_the_share(void)
{
    struct vs_windows table;
    vs_windows_own(25, 0, &table);
    CHECK_IS(table.cycle, 40 * MS);
    CHECK_IS(table.at[0].end, 10 * MS);
    vs_windows_own(10, 50 * MS, &table);
    CHECK_IS(table.cycle, 1000 * MS);
    vs_windows_own(100, 5 * MS, &table);
    CHECK_IS(table.cycle, 160 * MS);
    CHECK_IS(table.at[0].end, 160 * MS);
}

/* No bytes whatever make the reader fall. */
static void anything_may_be_read(void)
{
    static const char alphabet[] = "windowrestcycleepochformat0123456789 \n\t/a1";
    uint64_t random = 7;
    char text[200];
    struct vs_windows table;
    struct vs_span span;
    for (int i = 0; i < 100000; i++) {
        size_t length = below(&random, sizeof(text));
        size_t kept = below(&random, strlen(TABLE));
        for (size_t j = 0; j < length; j++)
            text[j] = j < kept ? TABLE[j] : alphabet[below(&random, sizeof(alphabet) - 1)];
        if (!vs_windows_parse(text, length, "1/a", &table))
            continue;
        CHECK(table.cycle > 0 && table.count > 0 && table.at[table.count - 1].end <= table.cycle);
        CHECK(vs_windows_at(&table, next_random(&random) >> 8, &span));
        CHECK(span.start < span.end);
    }
}

int main(void)
{
    RUN(a_table_is_read);
    RUN(broken_tables_change_nothing);
    RUN(turns_recur);
    RUN(time_adds_up);
    RUN(an_own_table_keeps_the_share);
    RUN(anything_may_be_read);
    return 0;
}
