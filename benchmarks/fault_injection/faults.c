/* Faults for LD_PRELOAD: the n-th call that changes a file in a folder kills the process, or fails.
 *
 * It counts write, pwrite, fsync, fdatasync, ftruncate, rename, link, linkat, unlink, mkdir and rmdir. `arm` is called through
 * ctypes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { OFF, KILL_BEFORE, KILL_HALFWAY, FULL_FROM_HERE, EIO_ONCE, EIO_FROM_HERE };

static char folder[4096];
static long at, calls;
static int mode = OFF;

void arm(const char *below, long n, int what) {
    snprintf(folder, sizeof folder, "%s", below);
    at = n;
    calls = 0;
    mode = what;
}

long counted(void) { return calls; }

static int is_below(const char *path) { return *folder && !strncmp(path, folder, strlen(folder)); }

static int is_ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0)
        return 0;
    path[n] = 0;
    return is_below(path);
}

/* 0: continue; 1: fail with errno; 2: write half, then die */
static int strike(void) {
    calls++;
    if (mode == KILL_BEFORE && calls == at)
        kill(getpid(), SIGKILL);
    if (mode == KILL_HALFWAY && calls == at)
        return 2;
    if ((mode == EIO_ONCE && calls == at) || (mode == EIO_FROM_HERE && calls >= at)) {
        errno = EIO;
        return 1;
    }
    if (mode == FULL_FROM_HERE && calls >= at) {
        errno = ENOSPC;
        return 1;
    }
    return 0;
}

static void die(void) { kill(getpid(), SIGKILL); }

ssize_t write(int fd, const void *data, size_t n) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "write");
    if (mode && is_ours(fd)) {
        int hit = strike();
        if (hit == 1)
            return -1;
        if (hit == 2) {
            real(fd, data, n / 2);
            die();
        }
    }
    return real(fd, data, n);
}

#define PWRITE(NAME)                                                       \
    ssize_t NAME(int fd, const void *data, size_t n, off_t where) {        \
        static ssize_t (*real)(int, const void *, size_t, off_t);          \
        if (!real)                                                         \
            real = dlsym(RTLD_NEXT, #NAME);                                \
        if (mode && is_ours(fd)) {                                         \
            int hit = strike();                                            \
            if (hit == 1)                                                  \
                return -1;                                                 \
            if (hit == 2) {                                                \
                real(fd, data, n / 2, where);                              \
                die();                                                     \
            }                                                              \
        }                                                                  \
        return real(fd, data, n, where);                                   \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define ON_FD(NAME, PARAMETERS, ARGUMENTS)                                 \
    int NAME PARAMETERS {                                                  \
        static int(*real) PARAMETERS;                                      \
        if (!real)                                                         \
            real = dlsym(RTLD_NEXT, #NAME);                                \
        if (mode && is_ours(fd)) {                                         \
            int hit = strike();                                            \
            if (hit == 1 && mode != FULL_FROM_HERE)                        \
                return -1;                                                 \
            if (hit == 2)                                                  \
                die();                                                     \
        }                                                                  \
        return real ARGUMENTS;                                             \
    }
ON_FD(fsync, (int fd), (fd))
ON_FD(fdatasync, (int fd), (fd))
ON_FD(ftruncate, (int fd, off_t n), (fd, n))
ON_FD(ftruncate64, (int fd, off_t n), (fd, n))

#define ON_TWO_PATHS(NAME)                                                 \
    int NAME(const char *from, const char *to) {                           \
        static int (*real)(const char *, const char *);                    \
        if (!real)                                                         \
            real = dlsym(RTLD_NEXT, #NAME);                                \
        if (mode && is_below(to)) {                                        \
            int hit = strike();                                            \
            if (hit == 1)                                                  \
                return -1;                                                 \
            if (hit == 2)                                                  \
                die();                                                     \
        }                                                                  \
        return real(from, to);                                             \
    }
ON_TWO_PATHS(rename)
ON_TWO_PATHS(link)

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    static int (*real)(int, const char *, int, const char *, int);
    if (!real)
        real = dlsym(RTLD_NEXT, "linkat");
    if (mode && is_below(to)) {
        int hit = strike();
        if (hit == 1)
            return -1;
        if (hit == 2)
            die();
    }
    return real(from_fd, from, to_fd, to, flags);
}

int mkdir(const char *path, mode_t permissions) {
    static int (*real)(const char *, mode_t);
    if (!real)
        real = dlsym(RTLD_NEXT, "mkdir");
    if (mode && is_below(path)) {
        int hit = strike();
        if (hit == 1)
            return -1;
        if (hit == 2)
            die();
    }
    return real(path, permissions);
}

#define ON_REMOVAL(NAME)                                                   \
    int NAME(const char *path) {                                           \
        static int (*real)(const char *);                                  \
        if (!real)                                                         \
            real = dlsym(RTLD_NEXT, #NAME);                                \
        if (mode && is_below(path)) {                                      \
            int hit = strike();                                            \
            if (hit == 1 && mode != FULL_FROM_HERE)                        \
                return -1;                                                 \
            if (hit == 2)                                                  \
                die();                                                     \
        }                                                                  \
        return real(path);                                                 \
    }
ON_REMOVAL(unlink)
ON_REMOVAL(rmdir)
