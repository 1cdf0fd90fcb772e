/* Code images: the globals that they declare, and no byte read beyond what their headers vouch for. */
#include "../../src/image.h"
#include "check.h"

#include <elf.h>

/* PTX declarations count by type and bounds; instructions and strings that look alike do not. */
static void ptx_globals_are_summed(void)
{
    CHECK_IS(vs_image_globals(".version 7.0\n.visible .global .align 4 .b8 big[1048576];\n"), MIB);
    CHECK_IS(vs_image_globals("// x\n.global .f64 one;\n.global .align 16 .u32 grid[4][8];\n"), 8 + 4 * 32);
    CHECK_IS(vs_image_globals("// x\n.global .s16 set[3] = {1, 2, 3};\n"), 6);
    CHECK_IS(vs_image_globals("//\n ld.global.f32 %f1, [%rd1];\n st.global.u64 [%rd2], %rd3;\n"), 0);
    CHECK_IS(vs_image_globals("// .extern .globals[5]"), 0);
    CHECK_IS(vs_image_globals("//\n.global .b8 huge[99999999999999999999][9999999999999999];"), UINT64_MAX);
}

/* What is no image of ours says nothing. */
static void other_bytes_say_nothing(void)
{
    static const unsigned char fat[] = {0x50, 0xed, 0x55, 0xba, 1, 0, 16, 0};
    CHECK_IS(vs_image_globals(NULL), 0);
    CHECK_IS(vs_image_globals(fat), 0);
    CHECK_IS(vs_image_globals(""), 0);
}

#define NAMES "\0.text\0.nv.global.init\0.nv.global\0"

/* A cubin with two sections of globals. */
static size_t cubin(unsigned char *out)
{
    Elf64_Ehdr head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64},
                       .e_shoff = sizeof(head),
                       .e_shentsize = sizeof(Elf64_Shdr),
                       .e_shnum = 4,
                       .e_shstrndx = 3};
    Elf64_Shdr sections[4] = {
        {.sh_name = 1, .sh_type = SHT_PROGBITS, .sh_size = 999},
        {.sh_name = 7, .sh_type = SHT_PROGBITS, .sh_size = 1000},
        {.sh_name = 23, .sh_type = SHT_NOBITS, .sh_size = 5 * GIB},
        {.sh_name = 0, .sh_offset = sizeof(head) + sizeof(sections), .sh_size = sizeof(NAMES)},
    };
    memcpy(out, &head, sizeof(head));
    memcpy(out + sizeof(head), sections, sizeof(sections));
    memcpy(out + sizeof(head) + sizeof(sections), NAMES, sizeof(NAMES));
    return sizeof(head) + sizeof(sections) + sizeof(NAMES);
}

/* Sections of globals count by their size in memory, in the file or not. */
static void cubin_globals_are_summed(void)
{
    unsigned char image[1024];
    cubin(image);
    CHECK_IS(vs_image_globals(image), 5 * GIB + 1000);
}

/* PTX cut or mangled anywhere is read no further than its end. */
static void mangled_ptx_is_harmless(void)
{
    static const char seed_text[] = "//\n.visible .global .align 4 .b8 big[1024][7];\n.global .f32 x = 1;\nld.global.f32";
    uint64_t state = 5;
    for (int round = 0; round < 50000; round++) {
        size_t size = 1 + below(&state, sizeof(seed_text) - 1);
        char *text = malloc(size + 1);
        memcpy(text, seed_text, size);
        text[size] = 0;
        for (uint64_t i = below(&state, 4); i > 0; i--)
            text[3 % size + below(&state, size - 3 % size)] = "[].;= globalbf0123\n"[below(&state, 19)];
        vs_image_globals(size > 2 ? text : "//");
        free(text);
    }
}

int main(void)
{
    RUN(ptx_globals_are_summed);
    RUN(other_bytes_say_nothing);
    RUN(cubin_globals_are_summed);
    RUN(mangled_ptx_is_harmless);
    return 0;
}
