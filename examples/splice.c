/*
 * A bulk stream to a file and to a pipe at the same time, by tee(2) and splice(2): no byte passes through this program.
 *
 *   cc -o splice examples/splice.c && ./splice DIR FILE 64000000 | md5sum && md5sum FILE
 *
 * What `tee FILE` does with two copies of each byte, the kernel does here with references to its pages.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static void die(const char *what)
{
    fprintf(stderr, "splice: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* A daemon holds its lock for as long as it lives. */
static void need_demo(const char *dir)
{
    char path[4096];
    int lock;
    snprintf(path, sizeof path, "%s/lock", dir);
    lock = open(path, O_RDONLY | O_CLOEXEC);
    if (lock < 0 || flock(lock, LOCK_SH | LOCK_NB) == 0) {
        fprintf(stderr, "splice: no demo runs in %s; start one in another terminal: usbpipe demo --dir %s\n", dir, dir);
        exit(1);
    }
    close(lock);
}

int main(int count, char **arguments)
{
    char path[4096];
    long long left;
    int device, file;

    if (count != 4 || (left = atoll(arguments[3])) <= 0) {
        fprintf(stderr, "usage: splice DIR FILE BYTES | PROGRAM\n");
        return 2;
    }
    need_demo(arguments[1]);
    snprintf(path, sizeof path, "%s/zero/ep_81", arguments[1]);
    if ((device = open(path, O_RDONLY)) < 0)
        die(path);
    if ((file = open(arguments[2], O_WRONLY | O_CREAT | O_TRUNC, 0666)) < 0)
        die(arguments[2]);
    while (left > 0) {
        /* tee leaves the bytes in the FIFO; the splice after it takes just those out. */
        ssize_t seen = tee(device, STDOUT_FILENO, left < 65536 ? left : 65536, 0);
        if (seen < 0)
            die("standard output, which has to be a pipe");
        if (seen == 0)
            break; /* end of file: the device is gone and its configuration says unplug = "eof" */
        left -= seen;
        while (seen > 0) {
            ssize_t moved = splice(device, NULL, file, NULL, seen, SPLICE_F_MOVE);
            if (moved <= 0)
                die(arguments[2]);
            seen -= moved;
        }
    }
    return 0;
}
