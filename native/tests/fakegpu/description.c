/* Reading gpus.ini: one section per GPU, named by its UUID. */
#define _GNU_SOURCE
#include "description.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *fake_state_dir(void)
{
    const char *named = getenv("FAKEGPU_DIR");
    return named && *named ? named : "/run/fakegpu";
}

uint64_t fake_parse_size(const char *text)
{
    char *end = NULL;
    uint64_t value = strtoull(text, &end, 10);
    static const struct { const char *suffix; int shift; } units[] = {
        {"Ki", 10}, {"Mi", 20}, {"Gi", 30}, {"Ti", 40},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(end, units[i].suffix) == 0)
            return value << units[i].shift;
    return *end ? 0 : value;
}

int fake_uuid_bytes(const char *uuid, unsigned char bytes[16])
{
    const char *at = strncmp(uuid, "GPU-", 4) == 0 ? uuid + 4 : uuid;
    for (int n = 0; n < 16; n++) {
        while (*at == '-')
            at++;
        unsigned value;
        if (!isxdigit((unsigned char)at[0]) || sscanf(at, "%2x", &value) != 1)
            return -1;
        bytes[n] = (unsigned char)value;
        at += 2;
    }
    return 0;
}

/* Cuts white space off both ends, in place. */
static char *trimmed(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return text;
}

static void copy_text(char *to, size_t room, const char *from)
{
    snprintf(to, room, "%s", from);
}

/* What a GPU has when its section does not say. */
static void set_defaults(struct fake_gpu *gpu, const char *uuid, int position)
{
    memset(gpu, 0, sizeof *gpu);
    copy_text(gpu->uuid, sizeof gpu->uuid, uuid);
    copy_text(gpu->model, sizeof gpu->model, "Simulated GPU");
    snprintf(gpu->pci, sizeof gpu->pci, "0000:%02x:00.0", position + 1);
    gpu->memory = 16ull << 30;
    gpu->reserve = 256ull << 20;
    gpu->context = 300ull << 20;
    gpu->major = 8;
    gpu->minor = 6;
    gpu->multiprocessors = 40;
    gpu->minor_number = position;
}

static void set_value(struct fake_gpu *gpu, const char *name, const char *value)
{
    if (strcmp(name, "model") == 0)
        copy_text(gpu->model, sizeof gpu->model, value);
    else if (strcmp(name, "memory") == 0)
        gpu->memory = fake_parse_size(value);
    else if (strcmp(name, "reserve") == 0)
        gpu->reserve = fake_parse_size(value);
    else if (strcmp(name, "context") == 0)
        gpu->context = fake_parse_size(value);
    else if (strcmp(name, "hidden") == 0)
        gpu->hidden = fake_parse_size(value);
    else if (strcmp(name, "start") == 0)
        gpu->start = fake_parse_size(value);
    else if (strcmp(name, "pci") == 0)
        copy_text(gpu->pci, sizeof gpu->pci, value);
    else if (strcmp(name, "multiprocessors") == 0)
        gpu->multiprocessors = atoi(value);
    else if (strcmp(name, "compute_capability") == 0)
        sscanf(value, "%d.%d", &gpu->major, &gpu->minor);
}

/* Reads every section of the file, whoever may see it. */
static int read_all(FILE *file, struct fake_gpu gpus[FAKE_MAX_GPUS])
{
    char line[512];
    int count = 0;
    while (fgets(line, sizeof line, file)) {
        char *text = trimmed(line);
        char *close = strchr(text, ']');
        char *equals = strchr(text, '=');
        if (*text == '#' || *text == ';' || !*text)
            continue;
        if (*text == '[' && close) {
            *close = '\0';
            if (count == FAKE_MAX_GPUS)
                break;
            set_defaults(&gpus[count], trimmed(text + 1), count);
            count++;
        } else if (equals && count > 0) {
            *equals = '\0';
            set_value(&gpus[count - 1], trimmed(text), trimmed(equals + 1));
        }
    }
    return count;
}

/* Is this GPU on the comma-separated list? */
static int listed(const char *list, const char *uuid)
{
    size_t length = strlen(uuid);
    for (const char *at = list; (at = strstr(at, uuid)) != NULL; at += length)
        if (at[length] == '\0' || at[length] == ',' || isspace((unsigned char)at[length]))
            return 1;
    return 0;
}

/* Reads the list of visible UUIDs: the file <state>/visible where a container
 * runtime put one (it survives `env -i`), else FAKEGPU_VISIBLE. Returns 0 if
 * there is neither, which means: all. */
static int visible_list(char *list, size_t room)
{
    char path[512];
    snprintf(path, sizeof path, "%s/visible", fake_state_dir());
    FILE *file = fopen(path, "re");
    if (file) {
        size_t got = fread(list, 1, room - 1, file);
        list[got] = '\0';
        fclose(file);
        return 1;
    }
    const char *named = getenv("FAKEGPU_VISIBLE");
    if (named)
        copy_text(list, room, named);
    return named != NULL;
}

/* A GPU is visible if the list names it, or says "all", or there is no list. */
int fake_read_gpus(struct fake_gpu gpus[FAKE_MAX_GPUS])
{
    char path[512], list[4096] = "";
    snprintf(path, sizeof path, "%s/gpus.ini", fake_state_dir());
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    int count = read_all(file, gpus), kept = 0;
    fclose(file);
    if (!visible_list(list, sizeof list) || strncmp(list, "all", 3) == 0)
        return count;
    for (int i = 0; i < count; i++)
        if (listed(list, gpus[i].uuid))
            gpus[kept++] = gpus[i];
    return kept;
}
