/* The shared books; see books.h for the layout's reasons. */
#define _GNU_SOURCE
#include "books.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint32_t BOOKS_MAGIC = 0x32424b46; /* "FKB2" */

/* Who owns an entry. fcntl does not tell a process of its own locks, and both
 * fake libraries live in one process, so the owner is also written down. */
struct books_owner {
    uint64_t pid, start, pid_namespace;
};

struct books_entry {
    struct books_owner owner;
    struct books_use use[FAKE_MAX_GPUS];
};

struct books {
    uint32_t magic;
    uint32_t rows;
    uint32_t highest; /* entries ever used lie below this */
    uint32_t spare;
    char uuid[FAKE_MAX_GPUS][64];
    struct books_entry entries[BOOKS_ENTRIES];
};

/* Lock bytes: 0 guards the whole file, 1 + n belongs to the owner of entry n. */
enum { WHOLE_FILE = 0, FIRST_ENTRY = 1 };

static pthread_mutex_t threads = PTHREAD_MUTEX_INITIALIZER;
static struct books *map;
static int file = -1;
static int row_of[FAKE_MAX_GPUS];
static int mine = -1;

static int lock_byte(int command, short type, off_t place, pid_t *owner)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = place, .l_len = 1};
    int result;
    do
        result = fcntl(file, command, &range);
    while (result != 0 && (errno == EINTR || errno == EDEADLK));
    if (owner)
        *owner = range.l_type == F_UNLCK ? -1 : range.l_pid;
    return result;
}

static void enter(void)
{
    pthread_mutex_lock(&threads);
    lock_byte(F_SETLKW, F_WRLCK, WHOLE_FILE, NULL);
}

static void leave(void)
{
    lock_byte(F_SETLK, F_UNLCK, WHOLE_FILE, NULL);
    pthread_mutex_unlock(&threads);
}

/* When this process started, in clock ticks since boot. */
static uint64_t start_time(void)
{
    char line[1024];
    uint64_t start = 0;
    FILE *stat = fopen("/proc/self/stat", "re");
    if (!stat)
        return 0;
    if (fgets(line, sizeof line, stat)) {
        char *field = strrchr(line, ')');
        for (int i = 0; field && i < 20; i++)
            field = strchr(field + 1, ' ');
        if (field)
            start = strtoull(field, NULL, 10);
    }
    fclose(stat);
    return start;
}

static struct books_owner myself(void)
{
    static struct books_owner self;
    struct stat namespace;
    if (self.pid != (uint64_t)getpid()) {
        self.pid_namespace = stat("/proc/self/ns/pid", &namespace) == 0 ? namespace.st_ino : 0;
        self.start = start_time();
        self.pid = (uint64_t)getpid();
    }
    return self;
}

static bool is_me(const struct books_owner *owner)
{
    struct books_owner self = myself();
    return owner->pid == self.pid && owner->start == self.start &&
           owner->pid_namespace == self.pid_namespace;
}

/* Does entry `n` belong to a live process? Tells its PID as this namespace sees
 * it (0: outside). */
static bool alive(int n, pid_t *pid)
{
    pid_t owner = -1;
    if (n == mine || is_me(&map->entries[n].owner)) {
        *pid = getpid();
        return true;
    }
    if (lock_byte(F_GETLK, F_WRLCK, FIRST_ENTRY + n, &owner) != 0 || owner == -1)
        return false;
    *pid = owner;
    return true;
}

static int map_file(void)
{
    char path[512];
    snprintf(path, sizeof path, "%s/books", fake_state_dir());
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (file < 0)
        return -1;
    (void)fchmod(file, 0666); /* other users' processes write here too */
    if (ftruncate(file, sizeof(struct books)) != 0)
        return -1;
    void *at = mmap(NULL, sizeof(struct books), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    map = at == MAP_FAILED ? NULL : at;
    return map ? 0 : -1;
}

static int find_row(const char *uuid)
{
    for (uint32_t row = 0; row < map->rows; row++)
        if (strcmp(map->uuid[row], uuid) == 0)
            return (int)row;
    if (map->rows == FAKE_MAX_GPUS)
        return 0;
    snprintf(map->uuid[map->rows], sizeof map->uuid[0], "%s", uuid);
    return (int)map->rows++;
}

int books_open(const struct fake_gpu *gpus, int count)
{
    if (!map && map_file() != 0)
        return -1;
    enter();
    if (map->magic != BOOKS_MAGIC) {
        memset(map->uuid, 0, sizeof map->uuid);
        map->rows = 0;
        map->magic = BOOKS_MAGIC;
    }
    for (int i = 0; i < count; i++)
        row_of[i] = find_row(gpus[i].uuid);
    leave();
    return 0;
}

int books_join(void)
{
    int result = mine >= 0 ? 0 : -1;
    pid_t pid;
    if (result == 0)
        return 0;
    enter();
    for (int n = 0; n < BOOKS_ENTRIES && mine < 0; n++) {
        if (alive(n, &pid))
            continue;
        memset(&map->entries[n], 0, sizeof map->entries[n]);
        if (lock_byte(F_SETLK, F_WRLCK, FIRST_ENTRY + n, NULL) != 0)
            continue;
        map->entries[n].owner = myself();
        if ((uint32_t)n >= map->highest)
            map->highest = (uint32_t)n + 1;
        mine = n;
    }
    leave();
    return mine >= 0 ? 0 : -1;
}

void books_forget(void)
{
    mine = -1;
    pthread_mutex_init(&threads, NULL);
}

/* Is anything at all written in this line? */
static bool in_use(const struct books_use *use)
{
    return use->bytes || use->contexts || use->launches;
}

static uint64_t sum_live(int row)
{
    uint64_t total = 0;
    pid_t pid;
    for (int n = 0; n < (int)map->highest; n++) {
        struct books_use *use = &map->entries[n].use[row];
        if (!in_use(use))
            continue;
        if (alive(n, &pid))
            total += use->bytes;
        else
            memset(use, 0, sizeof *use);
    }
    return total;
}

bool books_take(int index, uint64_t bytes, uint64_t capacity)
{
    if (books_join() != 0)
        return false;
    enter();
    struct books_use *use = &map->entries[mine].use[row_of[index]];
    uint64_t used = sum_live(row_of[index]);
    bool fits = used <= capacity && bytes <= capacity - used;
    if (fits) {
        use->bytes += bytes;
        if (use->bytes > use->peak)
            use->peak = use->bytes;
    }
    leave();
    return fits;
}

void books_give(int index, uint64_t bytes)
{
    enter();
    if (mine >= 0)
        map->entries[mine].use[row_of[index]].bytes -= bytes;
    leave();
}

uint64_t books_used(int index)
{
    enter();
    uint64_t used = sum_live(row_of[index]);
    leave();
    return used;
}

struct books_use *books_mine(int index)
{
    return mine >= 0 ? &map->entries[mine].use[row_of[index]] : NULL;
}

int books_processes(int index, struct books_process *out, int room)
{
    int found = 0;
    pid_t pid;
    enter();
    for (int n = 0; n < (int)map->highest; n++) {
        const struct books_use *use = &map->entries[n].use[row_of[index]];
        if (use->contexts == 0 || !alive(n, &pid))
            continue;
        if (found < room)
            out[found] = (struct books_process){.pid = (unsigned)pid, .use = *use};
        found++;
    }
    leave();
    return found;
}

int books_busy_others(int index, uint64_t now)
{
    int busy = 0;
    pid_t pid;
    enter();
    for (int n = 0; n < (int)map->highest; n++)
        if (n != mine && map->entries[n].use[row_of[index]].busy_until > now && alive(n, &pid))
            busy++;
    leave();
    return busy;
}
