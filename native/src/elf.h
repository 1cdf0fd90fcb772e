/* Looking at loaded objects without the loader's own lookup functions, which the interposer stands in front of.
 * Works on glibc and musl alike; allocates nothing. */
#ifndef VRAMSHARE_ELF_H
#define VRAMSHARE_ELF_H

#include "base.h"

/* The address of a function in the first object loaded after this library that defines it; NULL: none does.
 * Default versions go before hidden ones. */
void *vs_elf_next(const char *name);

/* The address of a symbol in the first loaded object that defines it, this library included. */
void *vs_elf_first(const char *name);

/* Whether the object that holds an address has a soname that starts with `prefix`. */
bool vs_elf_soname_is(const void *address, const char *prefix);

#endif
