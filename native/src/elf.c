/* Contract in elf.h. Reads the dynamic section of each loaded object. */
#define _GNU_SOURCE
#include "elf.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#ifndef DT_GNU_HASH
#define DT_GNU_HASH 0x6ffffef5
#endif

/* The tables of one object. */
struct object {
    const ElfW(Sym) *symbols;
    const char *strings;
    const uint32_t *gnu_hash;
    const ElfW(Word) *hash;
    const ElfW(Half) *versions;
    const char *soname;
    ElfW(Addr) base;
};

/* glibc relocates addresses in the dynamic section, musl and the vdso leave them relative. */
static const void *at(ElfW(Addr) base, ElfW(Addr) value)
{
    return (const void *)(value < base ? value + base : value);
}

static void read_object(const struct dl_phdr_info *info, struct object *out)
{
    *out = (struct object){.base = info->dlpi_addr};
    ElfW(Xword) soname = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        const ElfW(Dyn) *dyn = (const ElfW(Dyn) *)(out->base + info->dlpi_phdr[i].p_vaddr);
        for (; dyn->d_tag != DT_NULL; dyn++) {
            const void *address = at(out->base, dyn->d_un.d_ptr);
            switch (dyn->d_tag) {
            case DT_SYMTAB: out->symbols = address; break;
            case DT_STRTAB: out->strings = address; break;
            case DT_GNU_HASH: out->gnu_hash = address; break;
            case DT_HASH: out->hash = address; break;
            case DT_VERSYM: out->versions = address; break;
            case DT_SONAME: soname = dyn->d_un.d_val; break;
            default: break;
            }
        }
    }
    if (soname && out->strings)
        out->soname = out->strings + soname;
}

/* The address of symbol `index` if it defines `name`; hidden versions only if `hidden` says so. */
static void *match(const struct object *object, uint32_t index, const char *name, bool hidden)
{
    const ElfW(Sym) *symbol = &object->symbols[index];
    if (symbol->st_shndx == SHN_UNDEF || symbol->st_value == 0 || strcmp(object->strings + symbol->st_name, name) != 0)
        return NULL;
    if (!hidden && object->versions && (object->versions[index] & 0x8000))
        return NULL;
    return (void *)(object->base + symbol->st_value);
}

static void *find_gnu(const struct object *object, const char *name, bool hidden)
{
    uint32_t hash = 5381;
    for (const unsigned char *c = (const unsigned char *)name; *c; c++)
        hash = hash * 33 + *c;
    const uint32_t *table = object->gnu_hash, buckets = table[0], first = table[1], words = table[2];
    const uint32_t *bucket = table + 4 + words * (sizeof(ElfW(Addr)) / 4), *chain = bucket + buckets;
    if (buckets == 0)
        return NULL;
    uint32_t index = bucket[hash % buckets];
    for (; index >= first; index++) {
        uint32_t found = chain[index - first];
        void *address = (found | 1) == (hash | 1) ? match(object, index, name, hidden) : NULL;
        if (address || (found & 1))
            return address;
    }
    return NULL;
}

static void *find(const struct object *object, const char *name)
{
    if (!object->symbols || !object->strings)
        return NULL;
    for (int hidden = 0; hidden < 2; hidden++) {
        void *address = NULL;
        if (object->gnu_hash)
            address = find_gnu(object, name, hidden);
        else if (object->hash)
            for (uint32_t i = 1; i < object->hash[1] && !address; i++)
                address = match(object, i, name, hidden);
        if (address)
            return address;
    }
    return NULL;
}

static bool holds(const struct dl_phdr_info *info, ElfW(Addr) address)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        ElfW(Addr) start = info->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && address >= start && address < start + part->p_memsz)
            return true;
    }
    return false;
}

struct search {
    const char *text;
    ElfW(Addr) address;
    void *found;
    bool passed; /* this library was seen */
};

static int next_in(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    struct search *search = data;
    if (!search->passed) {
        search->passed = holds(info, search->address);
        return 0;
    }
    struct object object;
    read_object(info, &object);
    search->found = find(&object, search->text);
    return search->found != NULL;
}

void *vs_elf_next(const char *name)
{
    struct search search = {.text = name, .address = (ElfW(Addr))&vs_elf_next};
    dl_iterate_phdr(next_in, &search);
    return search.found;
}

void *vs_elf_first(const char *name)
{
    struct search search = {.text = name, .passed = true};
    dl_iterate_phdr(next_in, &search);
    return search.found;
}

static int soname_of(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    struct search *search = data;
    if (!holds(info, search->address))
        return 0;
    struct object object;
    read_object(info, &object);
    search->passed = object.soname && strncmp(object.soname, search->text, strlen(search->text)) == 0;
    return 1;
}

bool vs_elf_soname_is(const void *address, const char *prefix)
{
    struct search search = {.text = prefix, .address = (ElfW(Addr))address};
    dl_iterate_phdr(soname_of, &search);
    return search.passed;
}
