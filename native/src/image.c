/* Contract in image.h. An image comes without its length, so only what its own headers vouch for is read. */
#include "image.h"

#include <elf.h>
#include <string.h>


/* Sums the sections of a cubin that hold globals: named .nv.global, .nv.global.init, and alike. */
static uint64_t cubin_globals(const unsigned char *image)
{
    Elf64_Ehdr head;
    memcpy(&head, image, sizeof(head));
    if (head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_shentsize != sizeof(Elf64_Shdr) || head.e_shnum == 0 ||
        head.e_shoff == 0 || head.e_shstrndx >= head.e_shnum)
        return 0;
    Elf64_Shdr names, section;
    memcpy(&names, image + head.e_shoff + (uint64_t)head.e_shstrndx * sizeof(section), sizeof(names));
    uint64_t sum = 0;
    for (unsigned i = 0; i < head.e_shnum; i++) {
        memcpy(&section, image + head.e_shoff + (uint64_t)i * sizeof(section), sizeof(section));
        if (section.sh_name + sizeof(".nv.global") > names.sh_size)
            continue;
        if (strncmp((const char *)image + names.sh_offset + section.sh_name, ".nv.global", 10) == 0)
            sum = sum > UINT64_MAX - section.sh_size ? UINT64_MAX : sum + section.sh_size;
    }
    return sum;
}

static bool space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* Bytes of a PTX element type such as ".b8" or ".f64"; 0: not one. */
static uint64_t element(const char *type)
{
    if (type[0] != '.' || !strchr("busf", type[1]) || type[1] == 0)
        return 0;
    uint64_t bits = 0;
    for (const char *at = type + 2; *at >= '0' && *at <= '9' && bits < 1000; at++)
        bits = bits * 10 + (uint64_t)(*at - '0');
    return bits / 8;
}

/* One declaration, from behind ".global": its type, times its array bounds. Ends at ';', '=' or the text's end. */
static uint64_t declared(const char *at)
{
    uint64_t bytes = 0, count = 1;
    for (; *at && *at != ';' && *at != '='; at++) {
        if (*at == '.' && bytes == 0)
            bytes = element(at);
        if (*at != '[')
            continue;
        uint64_t bound = 0;
        for (at++; *at >= '0' && *at <= '9'; at++)
            bound = bound > UINT64_MAX / 16 ? bound : bound * 10 + (uint64_t)(*at - '0');
        count = bound && count > UINT64_MAX / bound ? UINT64_MAX : count * bound;
        if (*at == 0)
            break;
    }
    return bytes && count > UINT64_MAX / bytes ? UINT64_MAX : bytes * count;
}

/* Sums the ".global" declarations of PTX. Instructions such as "ld.global.f32" have a letter before the dot. */
static uint64_t ptx_globals(const char *text)
{
    uint64_t sum = 0;
    for (const char *at = text; (at = strstr(at, ".global")) != NULL;) {
        bool declaration = (at == text || space(at[-1])) && space(at[7]);
        at += 7;
        uint64_t bytes = declaration ? declared(at) : 0;
        sum = sum > UINT64_MAX - bytes ? UINT64_MAX : sum + bytes;
    }
    return sum;
}

uint64_t vs_image_globals(const void *image)
{
    const unsigned char *bytes = image;
    if (!bytes)
        return 0;
    if (strncmp((const char *)bytes, ELFMAG, SELFMAG) == 0) /* stops at the end of a short text */
        return cubin_globals(bytes);
    /* PTX is text and starts with a comment or a directive. */
    if (bytes[0] == '/' || bytes[0] == '.' || space((char)bytes[0]))
        return ptx_globals(image);
    return 0;
}
