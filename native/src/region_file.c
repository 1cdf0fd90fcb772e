/* The region's file: opened, made, mapped, checked. Contract in system.h. */
#define _GNU_SOURCE
#include "system.h"

#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LARGEST_REGION (UINT64_C(256) << 20) /* a file beyond this is not one of ours */
#define HIGH_DESCRIPTOR 800 /* out of the way of programs that count on low numbers */

/* Moves a descriptor up, where the process's limit allows it. */
static int out_of_the_way(int file)
{
    int high = fcntl(file, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
    if (high < 0)
        return file;
    close(file);
    return high;
}

/* Gives a fresh, nameless file its size, header and rights. False: no room. */
static bool fill_file(int file)
{
    /* Allocated, not sparse: a page that tmpfs cannot give later would be a SIGBUS. */
    if (fchmod(file, 0666) != 0 || posix_fallocate(file, 0, (off_t)VS_REGION_FILE_SIZE) != 0)
        return false;
    struct { _Alignas(8) unsigned char bytes[VS_REGION_HEADER_SIZE]; } head = {{0}};
    vs_region_format(head.bytes, vs_now(false));
    return pwrite(file, head.bytes, sizeof(head.bytes), 0) == (ssize_t)sizeof(head.bytes);
}

/* Makes the region without a name, so that nothing is left behind if we are killed, and names it when it is
 * complete. 0, or errno; EEXIST: somebody else was faster. */
static int make_nameless(const char *path)
{
    char folder[4096], self[40];
    memcpy(folder, path, strlen(path) + 1);
    char *slash = strrchr(folder, '/');
    strcpy(slash ? slash + (slash == folder) : folder, slash ? "" : ".");
    int file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0)
        return errno;
    snprintf(self, sizeof(self), "/proc/self/fd/%d", file);
    int result = 0;
    if (!fill_file(file))
        result = ENOSPC;
    else if (linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) != 0)
        result = errno;
    close(file);
    return result;
}

/* The same where the file system has no nameless files, or /proc is not there. */
static int make_named(const char *path)
{
    char other[4096];
    snprintf(other, sizeof(other), "%s.%ld", path, (long)getpid());
    unlink(other);
    int file = open(other, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return errno;
    int result = 0;
    if (!fill_file(file))
        result = ENOSPC;
    else if (link(other, path) != 0)
        result = errno;
    unlink(other);
    close(file);
    return result;
}

/* Makes the region. 0, or errno. */
static int make_file(const char *path)
{
    if (strlen(path) > 4000)
        return ENAMETOOLONG;
    int result = make_nameless(path);
    if (result != 0 && result != EEXIST && result != ENOSPC)
        result = make_named(path);
    return result == EEXIST ? 0 : result;
}

/* Opens and maps an existing file. `why` says what is wrong with it. */
static struct vs_mapping map_file(const char *path)
{
    struct vs_mapping none = {.file = -1};
    int file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0) {
        none.why = errno == ENOENT ? "absent" : "cannot be opened for writing";
        return none;
    }
    struct stat found;
    struct vs_view view;
    void *base = MAP_FAILED;
    if (vs_stat(file, NULL, &found) != 0 || !S_ISREG(found.st_mode))
        none.why = "not a regular file";
    else if ((uint64_t)found.st_size > LARGEST_REGION || (uint64_t)found.st_size < VS_REGION_HEADER_SIZE)
        none.why = "of an impossible size";
    else if ((base = mmap(NULL, (size_t)found.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)) == MAP_FAILED)
        none.why = "cannot be mapped";
    else
        none.why = vs_region_check(base, (uint64_t)found.st_size, &view);
    if (!none.why)
        return (struct vs_mapping){.base = base, .size = (uint64_t)found.st_size, .file = out_of_the_way(file)};
    if (base != MAP_FAILED)
        munmap(base, (size_t)found.st_size);
    close(file);
    return none;
}

struct vs_mapping vs_map_region(const char *path, bool make)
{
    struct vs_mapping result = {.file = -1};
    if (path) {
        result = map_file(path);
        if (!result.base && make && result.why && strcmp(result.why, "absent") == 0) {
            int error = make_file(path);
            if (error == 0)
                result = map_file(path);
            else
                result.why = error == ENOSPC ? "cannot be made: no space" : "cannot be made";
        }
    }
    if (result.base)
        return result;
    void *base = mmap(NULL, VS_REGION_FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return result;
    vs_region_format(base, vs_now(false));
    result.base = base;
    result.size = VS_REGION_FILE_SIZE;
    return result;
}

int vs_region_file(const struct vs_mapping *mapping, const char *path)
{
    struct stat ours, named;
    if (mapping->file < 0 || !path)
        return -1;
    if (vs_stat(-1, path, &named) != 0)
        return -1;
    if (vs_stat(mapping->file, NULL, &ours) == 0 && ours.st_ino == named.st_ino && ours.st_dev == named.st_dev)
        return mapping->file;
    int file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    return file < 0 ? -1 : out_of_the_way(file);
}
