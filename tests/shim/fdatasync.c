/* Preloaded into a broker. While the file named by FDATASYNC_SLOW exists, every fdatasync takes 300 ms longer; while the
 * one named by FDATASYNC_FAILS exists, every fdatasync fails with EIO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int is_set(const char *name)
{
    const char *flag = getenv(name);
    return flag != NULL && access(flag, F_OK) == 0;
}

int fdatasync(int fd)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (is_set("FDATASYNC_FAILS")) {
        errno = EIO;
        return -1;
    }
    if (is_set("FDATASYNC_SLOW")) {
        struct timespec delay = {0, 300 * 1000 * 1000};
        while (nanosleep(&delay, &delay) != 0) {
        }
    }
    return next(fd);
}
