/* The books: what is charged is what a driver that takes pages of 2 MiB would have taken. */
#include "../../src/books.h"
#include "check.h"

static const struct vs_memory memory = {take_counted, give_counted};

static void close_books(struct vs_books *books)
{
    struct vs_map *maps[] = {&books->blocks,      &books->pages,   &books->objects, &books->handles,
                             &books->allocations, &books->mappings};
    for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++)
        vs_map_clear(maps[i], &memory);
    CHECK_IS(memory_out, 0);
    free(books);
}

static struct vs_books *open_books(void) { return calloc(1, sizeof(struct vs_books)); }

static uint64_t add(struct vs_books *books, uint64_t address, uint64_t size)
{
    bool recorded;
    struct vs_block block = {.size = size, .kind = VS_LINEAR};
    return vs_books_add(books, &memory, address, &block, &recorded);
}

static uint64_t take(struct vs_books *books, uint64_t address)
{
    struct vs_block block;
    uint64_t freed = UINT64_MAX;
    CHECK(vs_books_take(books, address, &block, &freed));
    return freed;
}

/* A byte more than a page takes two; the second byte's page is shared by what comes to lie there. */
static void a_page_and_a_byte_take_two(void)
{
    struct vs_books *books = open_books();
    CHECK_IS(add(books, 100 * VS_PAGE, VS_PAGE + 1), 2 * VS_PAGE);
    CHECK_IS(add(books, 101 * VS_PAGE + 512, 512), 0);
    CHECK_IS(take(books, 100 * VS_PAGE), VS_PAGE);
    CHECK_IS(take(books, 101 * VS_PAGE + 512), VS_PAGE);
    close_books(books);
}

/* Many small blocks of one page take it once. */
static void small_blocks_share_a_page(void)
{
    struct vs_books *books = open_books();
    uint64_t taken = 0, freed = 0;
    for (uint64_t i = 0; i < 4096; i++)
        taken += add(books, 7 * VS_PAGE + i * 512, 1);
    CHECK_IS(taken, VS_PAGE);
    for (uint64_t i = 0; i < 4096; i++)
        freed += take(books, 7 * VS_PAGE + i * 512);
    CHECK_IS(freed, VS_PAGE);
    close_books(books);
}

#define PLACES 64
#define SPAN 16 /* pages a place may use */

/* A random history of blocks that never overlap: what is charged equals the number of pages that any block
 * touches, counted the slow way. */
static void charges_match_touched_pages(void)
{
    struct vs_books *books = open_books();
    static uint8_t touched[PLACES * SPAN];
    uint64_t start[PLACES] = {0}, size[PLACES] = {0}, state = 3, charged = 0;
    memset(touched, 0, sizeof(touched));
    for (int step = 0; step < 60000; step++) {
        uint64_t p = below(&state, PLACES);
        int sign = size[p] ? -1 : 1;
        if (sign > 0) { /* neighbours share the pages between them: starts and ends are at halves of pages */
            start[p] = (1000 + p * SPAN) * VS_PAGE + below(&state, 4) * VS_PAGE / 4;
            size[p] = 1 + below(&state, below(&state, 3) ? VS_PAGE / 2 : (SPAN - 1) * VS_PAGE);
        }
        for (uint64_t page = start[p] / VS_PAGE; page <= (start[p] + size[p] - 1) / VS_PAGE; page++)
            touched[page - 1000] = (uint8_t)(touched[page - 1000] + sign);
        if (sign > 0)
            charged += add(books, start[p], size[p]);
        else
            charged -= take(books, start[p]);
        size[p] = sign > 0 ? size[p] : 0;
        uint64_t pages = 0;
        for (int i = 0; i < PLACES * SPAN; i++)
            pages += touched[i] != 0;
        CHECK_IS(charged, pages * VS_PAGE);
    }
    close_books(books);
}

/* What dies with a context is given back, and nothing else. */
static void a_context_takes_its_blocks_along(void)
{
    struct vs_books *books = open_books();
    uint64_t freed[VS_REGION_GPUS] = {0};
    bool recorded;
    for (uint64_t i = 0; i < 100; i++) {
        struct vs_block block = {.size = VS_PAGE, .context = 1 + i % 2, .gpu = (unsigned)(i % 3), .kind = VS_LINEAR};
        vs_books_add(books, &memory, (50 + i) * VS_PAGE, &block, &recorded);
    }
    struct vs_block array = {.size = 3 * VS_PAGE, .context = 1, .gpu = 2, .kind = VS_PACKED};
    CHECK_IS(vs_books_add_object(books, &memory, 4242, &array, &recorded), 3 * VS_PAGE);
    vs_books_drop_context(books, 1, freed);
    CHECK_IS(freed[0] + freed[1] + freed[2], 53 * VS_PAGE);
    CHECK_IS(books->blocks.count, 50);
    vs_books_drop_context(books, 0, freed);
    CHECK_IS(books->blocks.count, 50);
    close_books(books);
}

/* Small arrays of one size fill a page together; large ones have pages of their own. */
static void arrays_are_packed(void)
{
    struct vs_books *books = open_books();
    struct vs_block small = {.size = 700 << 10, .kind = VS_PACKED}, large = {.size = VS_PAGE + 1, .kind = VS_PACKED};
    struct vs_block out;
    uint64_t freed, sum = 0;
    bool recorded;
    for (uint64_t i = 1; i <= 10; i++)
        sum += vs_books_add_object(books, &memory, i, &small, &recorded);
    CHECK_IS(sum, 5 * VS_PAGE); /* two fit on a page, not three */
    CHECK_IS(vs_books_add_object(books, &memory, 11, &large, &recorded), 2 * VS_PAGE);
    for (uint64_t i = 1; i <= 11; i++) {
        CHECK(vs_books_take_object(books, i, &out, &freed));
        sum -= freed;
    }
    CHECK_IS(sum + 2 * VS_PAGE, 0);
    close_books(books);
}

/* A block that cannot be remembered is charged whole, and stays so. */
static void what_cannot_be_remembered_stays_charged(void)
{
    struct vs_books *books = open_books();
    struct vs_block block = {.size = 5, .kind = VS_LINEAR};
    bool recorded = true;
    memory_left = 0;
    CHECK_IS(vs_books_add(books, &memory, 12345, &block, &recorded), VS_PAGE);
    CHECK(!recorded);
    memory_left = UINT64_MAX;
    close_books(books);
}

/* Memory of others in this container takes nothing here. */
static void borrowed_blocks_take_nothing(void)
{
    struct vs_books *books = open_books();
    struct vs_block block = {.size = GIB, .kind = VS_BORROWED};
    uint64_t freed;
    bool recorded;
    CHECK_IS(vs_books_add(books, &memory, GIB, &block, &recorded), 0);
    CHECK(vs_books_take(books, GIB, &block, &freed));
    CHECK_IS(freed, 0);
    close_books(books);
}

static bool lender_lives(void *context, uint64_t lender) { return lender != *(uint64_t *)context; }
static bool never_lent(void *context, unsigned gpu, uint64_t size) { return context && gpu && size && false; }

/* What a dead process lent is charged to who still holds it, once; what a living one lent stays its own. */
static void orphans_are_adopted(void)
{
    struct vs_books *books = open_books();
    uint64_t dead = 7, owed[VS_REGION_GPUS] = {0}, freed[VS_REGION_GPUS] = {0}, bytes;
    struct vs_lenders lenders = {lender_lives, never_lent, &dead};
    bool recorded;
    for (uint64_t i = 0; i < 20; i++) {
        struct vs_block block = {.size = VS_PAGE, .context = 6 + i % 2, .kind = VS_BORROWED};
        CHECK_IS(vs_books_add(books, &memory, (9 + i) * VS_PAGE, &block, &recorded), 0);
    }
    vs_books_physical(books, &memory, 5, 0, 0, VS_IMPORTED);
    vs_books_size(books, 5, 3 * VS_PAGE, VS_BORROWED);
    CHECK_IS(books->borrowed[0], 23 * VS_PAGE);
    vs_books_adopt(books, &memory, &lenders, owed);
    CHECK_IS(owed[0], 13 * VS_PAGE);
    CHECK_IS(books->borrowed[0], 10 * VS_PAGE);
    vs_books_adopt(books, &memory, &lenders, owed);
    CHECK_IS(owed[0], 13 * VS_PAGE);
    vs_books_unref(books, 5, freed);
    CHECK_IS(freed[0], 3 * VS_PAGE);
    struct vs_block block;
    CHECK(vs_books_take(books, 10 * VS_PAGE, &block, &bytes));
    CHECK_IS(bytes, VS_PAGE);
    close_books(books);
}

/* Pools: a slot each, found again by handle, and room said to be out when it is. */
static void pools_are_found_again(void)
{
    struct vs_books *books = open_books();
    for (uint64_t i = 1; i <= VS_POOLS; i++)
        CHECK_IS(vs_books_add_pool(books, i * 16, 0), i - 1);
    CHECK_IS(vs_books_pool(books, 32), 1);
    CHECK_IS(vs_books_add_pool(books, 99999, 0), VS_NO_POOL);
    close_books(books);
}

/* What stands as promised on a GPU is the sum of its promises, whatever else there is; those of a context go with it. */
static void promises_are_summed(void)
{
    struct vs_books *books = open_books();
    uint64_t freed[VS_REGION_GPUS] = {0};
    bool recorded;
    for (uint64_t i = 1; i <= 4; i++) {
        struct vs_block block = {.size = i * 100, .context = 64 * i, .gpu = i == 4, .kind = VS_PROMISED};
        CHECK_IS(vs_books_add_object(books, &memory, i * 16, &block, &recorded), 0);
    }
    vs_books_add_object(books, &memory, 1000, &(struct vs_block){.size = VS_PAGE, .kind = VS_EXTERNAL}, &recorded);
    CHECK_IS(vs_books_promised(books, 0), 600);
    CHECK_IS(vs_books_promised(books, 1), 400);
    vs_books_drop_context(books, 64 * 2, freed);
    CHECK_IS(vs_books_promised(books, 0), 400);
    CHECK_IS(freed[0], 0);
    close_books(books);
}

int main(void)
{
    RUN(a_page_and_a_byte_take_two);
    RUN(small_blocks_share_a_page);
    RUN(charges_match_touched_pages);
    RUN(a_context_takes_its_blocks_along);
    RUN(arrays_are_packed);
    RUN(what_cannot_be_remembered_stays_charged);
    RUN(borrowed_blocks_take_nothing);
    RUN(orphans_are_adopted);
    RUN(pools_are_found_again);
    RUN(promises_are_summed);
    return 0;
}
