/* Contract in limits.h. */
#include "limits.h"

#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool vs_uuid_parse(const char *text, size_t length, uint8_t uuid[16])
{
    if (length < 4 || memcmp(text, "GPU-", 4) != 0)
        return false;
    unsigned digits = 0;
    for (size_t i = 4; i < length; i++) {
        if (text[i] == '-')
            continue;
        int digit = hex(text[i]);
        if (digit < 0 || digits == 32)
            return false;
        uuid[digits / 2] = (uint8_t)(digits % 2 ? uuid[digits / 2] << 4 | digit : digit);
        digits++;
    }
    return digits == 32;
}

void vs_uuid_format(const uint8_t uuid[16], char text[VS_UUID_TEXT])
{
    memcpy(text, "GPU-", 4);
    char *to = text + 4;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *to++ = '-';
        *to++ = "0123456789abcdef"[uuid[i] >> 4];
        *to++ = "0123456789abcdef"[uuid[i] & 15];
    }
    *to = 0;
}

/* Reads leading digits; the number of characters read, 0 if there are none or they overflow. */
static size_t digits(const char *text, size_t length, uint64_t *out)
{
    size_t i = 0;
    uint64_t value = 0;
    for (; i < length && text[i] >= '0' && text[i] <= '9'; i++) {
        if (value > (UINT64_MAX - 9) / 10)
            return 0;
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *out = value;
    return i;
}

/* What a suffix multiplies by; 0: no such suffix. */
static uint64_t factor(const char *suffix, size_t length)
{
    static const struct { char text[3]; uint64_t value; } known[] = {
        {"", 1}, {"k", 1000}, {"M", 1000000}, {"G", 1000000000}, {"T", UINT64_C(1000000000000)},
        {"Ki", UINT64_C(1) << 10}, {"Mi", UINT64_C(1) << 20}, {"Gi", UINT64_C(1) << 30}, {"Ti", UINT64_C(1) << 40},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (strlen(known[i].text) == length && memcmp(known[i].text, suffix, length) == 0)
            return known[i].value;
    return 0;
}

/* Reads a percentage behind its whole digits: an optional decimal, and the sign. */
static bool percent(const char *rest, size_t length, uint64_t value, uint64_t whole, uint64_t *out)
{
    uint64_t milli = value <= 100 ? value * 10 : 1001;
    if (length == 3 && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9')
        milli += (uint64_t)(rest[1] - '0');
    else if (length != 1)
        return false;
    if (rest[length - 1] != '%' || milli > 1000)
        return false;
    *out = whole / 1000 * milli + whole % 1000 * milli / 1000;
    return true;
}

bool vs_size_parse(const char *text, size_t length, uint64_t whole, uint64_t *out)
{
    uint64_t value;
    size_t used = digits(text, length, &value);
    if (used == 0)
        return false;
    if (length > used && text[length - 1] == '%')
        return percent(text + used, length - used, value, whole, out);
    uint64_t by = factor(text + used, length - used);
    if (by == 0 || value > UINT64_MAX / by)
        return false;
    *out = value * by;
    return true;
}

bool vs_cores_parse(const char *text, size_t length, unsigned *out)
{
    uint64_t value;
    if (digits(text, length, &value) != length || length == 0 || value > 100)
        return false;
    *out = (unsigned)value;
    return true;
}

static bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

/* The next word of a line: its start, with its length; NULL at the end. */
static const char *word(const char **at, const char *end, size_t *length)
{
    while (*at < end && blank(**at))
        (*at)++;
    const char *start = *at;
    while (*at < end && !blank(**at))
        (*at)++;
    *length = (size_t)(*at - start);
    return *length ? start : NULL;
}

static bool key_is(const char *token, size_t key, const char *name)
{
    return strlen(name) == key && memcmp(token, name, key) == 0;
}

/* Reads the `key=value` words of a line. False: one cannot be read, stands there twice, or memory is missing. */
static bool parse_words(const char *at, const char *end, struct vs_limit *limit, char tenant[VS_TENANT])
{
    bool memory = false, cores = false;
    size_t length;
    for (const char *token; (token = word(&at, end, &length)) != NULL;) {
        const char *equals = memchr(token, '=', length);
        if (!equals)
            return false;
        size_t key = (size_t)(equals - token), rest = length - key - 1;
        if (key_is(token, key, "memory")) {
            if (memory || !vs_size_parse(equals + 1, rest, 0, &limit->memory) || equals[rest] == '%')
                return false;
            memory = true;
        } else if (key_is(token, key, "cores")) {
            if (cores || !vs_cores_parse(equals + 1, rest, &limit->cores))
                return false;
            cores = true;
        } else if (key_is(token, key, "tenant") && rest < VS_TENANT) {
            memcpy(tenant, equals + 1, rest);
            tenant[rest] = '\0';
        }
    }
    return memory;
}

static void parse_line(const char *at, const char *end, struct vs_limits *out)
{
    size_t length;
    const char *name = word(&at, end, &length);
    struct vs_limit limit = {0};
    if (!name || *name == '#' || !vs_uuid_parse(name, length, limit.uuid))
        return;
    if (!parse_words(at, end, &limit, out->tenant))
        limit.memory = limit.cores = 0;
    for (unsigned i = 0; i < out->count; i++)
        if (memcmp(out->gpu[i].uuid, limit.uuid, 16) == 0) {
            out->gpu[i].memory = 0; /* two lines for one GPU: neither can be believed */
            return;
        }
    if (out->count < VS_REGION_GPUS)
        out->gpu[out->count++] = limit;
}

void vs_limits_parse(const char *text, size_t size, struct vs_limits *out)
{
    out->count = 0;
    out->tenant[0] = '\0';
    const char *end = text + size;
    for (const char *line = text; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            stop = end;
        parse_line(line, stop, out);
        line = stop + 1;
    }
}

const struct vs_limit *vs_limits_find(const struct vs_limits *limits, const uint8_t uuid[16])
{
    for (unsigned i = 0; i < limits->count; i++)
        if (memcmp(limits->gpu[i].uuid, uuid, 16) == 0)
            return &limits->gpu[i];
    return NULL;
}
