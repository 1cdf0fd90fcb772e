#include "windows.h"

#include <string.h>

/* One line, cut into words. */
struct words {
    unsigned count;
    struct {
        const char *at;
        size_t length;
    } word[4];
};

static struct words split(const char *line, size_t length)
{
    struct words found = {0};
    for (size_t i = 0; i < length;) {
        while (i < length && (line[i] == ' ' || line[i] == '\t' || line[i] == '\r'))
            i++;
        size_t start = i;
        while (i < length && line[i] != ' ' && line[i] != '\t' && line[i] != '\r')
            i++;
        if (i > start && found.count < 4) {
            found.word[found.count].at = line + start;
            found.word[found.count++].length = i - start;
        }
    }
    return found;
}

static bool is(const struct words *words, unsigned index, const char *text)
{
    return index < words->count && words->word[index].length == strlen(text) &&
           memcmp(words->word[index].at, text, words->word[index].length) == 0;
}

/* Digits alone, at most 18 of them: no sum of two such overflows. */
static bool number(const struct words *words, unsigned index, uint64_t *out)
{
    if (index >= words->count || words->word[index].length > 18)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i < words->word[index].length; i++) {
        char digit = words->word[index].at[i];
        if (digit < '0' || digit > '9')
            return false;
        value = value * 10 + (uint64_t)(digit - '0');
    }
    *out = value;
    return true;
}

/* Puts a window in its place. False: no room, or it overlaps. */
static bool insert(struct vs_windows *table, uint64_t start, uint64_t length)
{
    if (length == 0)
        return true;
    if (table->count == VS_WINDOWS)
        return false;
    unsigned i = table->count;
    while (i > 0 && table->at[i - 1].start > start) {
        table->at[i] = table->at[i - 1];
        i--;
    }
    table->at[i] = (struct vs_span){start, start + length};
    table->count++;
    return (i == 0 || table->at[i - 1].end <= start) &&
           (i + 1 == table->count || table->at[i + 1].start >= start + length);
}

/* Takes one line into the table. False: the table cannot be read. */
static bool take(struct vs_windows *table, const struct words *words, const char *tenant)
{
    uint64_t start, length;
    if (is(words, 0, "format"))
        return is(words, 1, "1");
    if (is(words, 0, "epoch"))
        return number(words, 1, &table->epoch);
    if (is(words, 0, "cycle"))
        return number(words, 1, &table->cycle);
    bool own = tenant ? is(words, 0, "window") && is(words, 1, tenant) : is(words, 0, "rest");
    if (!own)
        return true; /* another's, or a later version's */
    return number(words, tenant ? 2 : 1, &start) && number(words, tenant ? 3 : 2, &length) &&
           insert(table, start, length);
}

bool vs_windows_parse(const char *text, size_t size, const char *tenant, struct vs_windows *out)
{
    struct vs_windows table = {0};
    for (size_t i = 0; i < size;) {
        const char *end = memchr(text + i, '\n', size - i);
        size_t length = end ? (size_t)(end - text) - i : size - i;
        struct words words = split(text + i, length);
        if (words.count && !take(&table, &words, tenant))
            return false;
        i += length + 1;
    }
    if (table.cycle == 0 || table.count == 0 || table.at[table.count - 1].end > table.cycle)
        return false;
    *out = table;
    return true;
}

uint64_t vs_cycle(uint64_t longest_unit)
{
    uint64_t cycle = VS_CYCLE_SHORTEST;
    while (cycle < VS_CYCLE_LONGEST && cycle / VS_CYCLE_UNITS < longest_unit)
        cycle *= 2;
    return vs_min(cycle, VS_CYCLE_LONGEST);
}

void vs_windows_own(unsigned cores, uint64_t longest_unit, struct vs_windows *out)
{
    uint64_t cycle = vs_cycle(longest_unit);
    *out = (struct vs_windows){.cycle = cycle, .count = 1, .at = {{0, cycle / 100 * (cores < 100 ? cores : 100)}}};
}

/* The start of the cycle that contains `now`, whatever the epoch; of the first one for the clock's first moments. */
static uint64_t cycle_of(const struct vs_windows *table, uint64_t now)
{
    uint64_t epoch = table->epoch % table->cycle;
    uint64_t phase = (now % table->cycle + table->cycle - epoch) % table->cycle;
    return phase > now ? epoch : now - phase;
}

bool vs_windows_at(const struct vs_windows *table, uint64_t now, struct vs_span *out)
{
    if (table->cycle == 0 || table->count == 0)
        return false;
    uint64_t base = cycle_of(table, now);
    unsigned i = 0;
    while (i < table->count && base + table->at[i].end <= now)
        i++;
    if (i == table->count) {
        base += table->cycle;
        i = 0;
    }
    *out = (struct vs_span){base + table->at[i].start, base + table->at[i].end};
    return true;
}

uint64_t vs_windows_time(const struct vs_windows *table, uint64_t from, uint64_t to)
{
    if (table->cycle == 0 || to <= from)
        return 0;
    uint64_t whole = 0, total = 0;
    for (unsigned i = 0; i < table->count; i++)
        whole += table->at[i].end - table->at[i].start;
    uint64_t cycles = (to - from) / table->cycle;
    total = cycles * whole;
    uint64_t at = from + cycles * table->cycle;
    for (uint64_t base = cycle_of(table, at); base < to; base += table->cycle)
        for (unsigned i = 0; i < table->count; i++)
            total += vs_minus(vs_min(base + table->at[i].end, to), vs_max(base + table->at[i].start, at));
    return total;
}
