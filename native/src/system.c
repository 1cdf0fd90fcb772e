/* Processes, files, time: contract in system.h. The region's file is in region_file.c. */
#define _GNU_SOURCE
#include "system.h"

#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint64_t vs_now(bool coarse)
{
    struct timespec time;
    clock_gettime(coarse ? CLOCK_MONOTONIC_COARSE : CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
}

void vs_pause(uint64_t nanoseconds)
{
    struct timespec time = {.tv_sec = (time_t)(nanoseconds / 1000000000), .tv_nsec = (long)(nanoseconds % 1000000000)};
    nanosleep(&time, NULL);
}

bool vs_is_secure(void) { return getauxval(AT_SECURE) != 0; }

const char *vs_variable(const char *name) { return vs_is_secure() ? NULL : getenv(name); }

static void *take_pages(size_t bytes, bool own)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (own)
        madvise(memory, bytes, MADV_DONTFORK);
    return memory;
}

static void *take_kept(size_t bytes) { return take_pages(bytes, false); }
static void *take_own(size_t bytes) { return take_pages(bytes, true); }
static void give_pages(void *memory, size_t bytes) { munmap(memory, bytes); }

const struct vs_memory vs_pages = {take_kept, give_pages};
const struct vs_memory vs_own_pages = {take_own, give_pages};

int vs_stat(int file, const char *path, struct stat *out)
{
    return (int)syscall(SYS_newfstatat, path ? AT_FDCWD : file, path ? path : "", out, path ? 0 : AT_EMPTY_PATH);
}

static void mark_of(const struct stat *found, uint64_t mark[4])
{
    mark[0] = (uint64_t)found->st_ino ^ (uint64_t)found->st_dev << 40;
    mark[1] = (uint64_t)found->st_size;
    mark[2] = (uint64_t)found->st_mtim.tv_sec;
    mark[3] = (uint64_t)found->st_mtim.tv_nsec;
}

bool vs_mark_file(const char *path, uint64_t mark[4])
{
    struct stat found;
    if (vs_stat(-1, path, &found) != 0)
        return false;
    mark_of(&found, mark);
    return true;
}

long vs_read_file(const char *path, char *buffer, size_t room, uint64_t mark[4])
{
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe in its place must stop nobody */
    if (file < 0)
        return errno == ENOENT || errno == ENOTDIR ? -1 : -2;
    struct stat found;
    long length = vs_stat(file, NULL, &found) == 0 ? 0 : -2;
    if (length == 0 && mark)
        mark_of(&found, mark);
    while (length >= 0 && (size_t)length < room) {
        ssize_t got = read(file, buffer + length, room - (size_t)length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            length = got < 0 ? -2 : length;
            break;
        }
        length += got;
    }
    close(file);
    return length;
}

/* Appends a decimal number; the end. */
static char *decimal(char *to, uint64_t value)
{
    char digits[20];
    int count = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count)
        *to++ = digits[--count];
    *to = 0;
    return to;
}

/* What /proc says of a process: its state letter, number of threads, start time. False: nothing to be read. */
static bool read_stat(const char *path, char *state, uint64_t *threads, uint64_t *start)
{
    char text[512];
    long length = vs_read_file(path, text, sizeof(text) - 1, NULL);
    if (length <= 0)
        return false;
    text[length] = 0;
    char *at = strrchr(text, ')'); /* the command may hold anything, parentheses too */
    if (!at || at[1] == 0)
        return false;
    *state = at[2];
    at += 2;
    for (int field = 3; field <= 22; field++) {
        if (field == 20)
            *threads = strtoull(at, NULL, 10);
        if (field == 22)
            *start = strtoull(at, NULL, 10);
        at = strchr(at, ' ');
        if (!at)
            return field == 22;
        at++;
    }
    return true;
}

static uint64_t owner_of(uint64_t pid, uint64_t start)
{
    return pid << VS_OWNER_PID_SHIFT | (start & ((UINT64_C(1) << VS_OWNER_PID_SHIFT) - 1));
}

void vs_identify(struct vs_identity *out)
{
    char state;
    uint64_t threads;
    struct stat found;
    *out = (struct vs_identity){.pid = (uint32_t)getpid(), .uid = (uint32_t)getuid()};
    if (read_stat("/proc/self/stat", &state, &threads, &out->start) && vs_stat(-1, "/proc/self/ns/pid", &found) == 0)
        out->pidns = (uint64_t)found.st_ino;
    long length = vs_read_file("/proc/self/comm", out->command, sizeof(out->command) - 1, NULL);
    if (length > 0 && out->command[length - 1] == '\n')
        out->command[length - 1] = 0;
    out->owner = owner_of(out->pid, out->start);
}

static struct flock byte_of(const struct vs_view *view, unsigned slot, short type)
{
    return (struct flock){.l_type = type,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)((unsigned char *)vs_slot(view, slot) - view->base),
                          .l_len = 1};
}

bool vs_slot_lock(const struct vs_view *view, unsigned slot, int file)
{
    struct flock lock = byte_of(view, slot, F_WRLCK);
    return file < 0 || fcntl(file, F_SETLK, &lock) == 0 || (errno != EACCES && errno != EAGAIN);
}

void vs_slot_unlock(const struct vs_view *view, unsigned slot, int file)
{
    struct flock lock = byte_of(view, slot, F_UNLCK);
    if (file >= 0)
        fcntl(file, F_SETLK, &lock);
}

bool vs_slot_is_locked(const struct vs_view *view, unsigned slot, int file)
{
    struct flock lock = byte_of(view, slot, F_WRLCK);
    return file >= 0 && fcntl(file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool vs_is_dead(const struct vs_view *view, unsigned slot, uint64_t owner, uint64_t own_pidns, int file)
{
    if (vs_slot_is_locked(view, slot, file))
        return false;
    uint64_t pid = owner >> VS_OWNER_PID_SHIFT, pidns = atomic_load(&vs_slot(view, slot)->pidns);
    /* Not of our PID namespace, and its lock is gone. A namespace of 0 is a slot that is being taken right now, by a
     * process that holds the lock first; or there is no /proc, and we can only ask for the PID. */
    if (pidns != own_pidns && pidns != 0 && own_pidns != 0 && file >= 0)
        return true;
    if (pidns != own_pidns && file < 0)
        return false;
    char path[40] = "/proc/", state = 0;
    uint64_t threads = 1, start = 0;
    strcpy(decimal(path + 6, pid), "/stat");
    if (own_pidns == 0 || !read_stat(path, &state, &threads, &start))
        return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
    if (owner_of(pid, start) != owner)
        return true;
    return (state == 'Z' || state == 'X') && threads <= 1;
}
