/* Contract in say.h. */
#define _GNU_SOURCE
#include "say.h"

#include "system.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void vs_line_text(struct vs_line *line, const char *text)
{
    while (*text && line->length < sizeof(line->text) - 1)
        line->text[line->length++] = *text++;
}

void vs_line_start(struct vs_line *line)
{
    line->length = 0;
    vs_line_text(line, "vramshare: ");
}

void vs_line_number(struct vs_line *line, uint64_t number)
{
    char digits[21];
    int at = sizeof(digits) - 1;
    digits[at] = 0;
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    vs_line_text(line, digits + at);
}

void vs_line_size(struct vs_line *line, uint64_t bytes)
{
    uint64_t tenths = bytes / ((UINT64_C(1) << 20) / 10);
    if (bytes % (UINT64_C(1) << 20) == 0)
        tenths = (bytes >> 20) * 10;
    vs_line_number(line, tenths / 10);
    if (tenths % 10) {
        vs_line_text(line, ".");
        vs_line_number(line, tenths % 10);
    }
    vs_line_text(line, " MiB");
}

void vs_line_say(struct vs_line *line)
{
    int saved = errno;
    line->text[line->length++] = '\n';
    ssize_t done = write(STDERR_FILENO, line->text, line->length);
    (void)done; /* nobody to tell */
    errno = saved;
}

bool vs_debug(void)
{
    static _Atomic int asked; /* 0: not looked yet, 1: no, 2: yes */
    int state = atomic_load_explicit(&asked, memory_order_relaxed);
    if (state == 0) {
        const char *value = vs_variable("VRAMSHARE_LOG");
        state = value && strcmp(value, "debug") == 0 ? 2 : 1;
        atomic_store_explicit(&asked, state, memory_order_relaxed);
    }
    return state == 2;
}
