/* Preloaded into a broker: while the file named by FDATASYNC_DELAY_FLAG exists, every fdatasync takes 300 ms longer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int fdatasync(int fd)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *flag = getenv("FDATASYNC_DELAY_FLAG");
    if (flag != NULL && access(flag, F_OK) == 0) {
        struct timespec delay = {0, 300 * 1000 * 1000};
        while (nanosleep(&delay, &delay) != 0) {
        }
    }
    return next(fd);
}
