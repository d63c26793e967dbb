/*
 * Several devices in one loop, by epoll(7) over their FIFOs: a board that is asked, a knob that reports, sound that streams.
 *
 *   cc -o epoll examples/epoll.c && ./epoll DIR
 *
 * It ends when it has had an answer from the board, 20 reports and a tenth of a second of sound.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <unistd.h>

struct source {
    const char *name;
    long wanted, had; /* bytes */
    int fd;
};

static void die(const char *what)
{
    fprintf(stderr, "epoll: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_in(const char *dir, const char *name, int flags)
{
    char path[4096];
    int fd;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if ((fd = open(path, flags | O_CLOEXEC)) < 0)
        die(path);
    return fd;
}

/* A daemon holds its lock for as long as it lives. */
static void need_demo(const char *dir)
{
    char path[4096];
    int lock;
    snprintf(path, sizeof path, "%s/lock", dir);
    lock = open(path, O_RDONLY | O_CLOEXEC);
    if (lock < 0 || flock(lock, LOCK_SH | LOCK_NB) == 0) {
        fprintf(stderr, "epoll: no demo runs in %s; start one in another terminal: usbpipe demo --dir %s\n", dir, dir);
        exit(1);
    }
    close(lock);
}

int main(int count, char **arguments)
{
    static const char question[] = "PING epoll\n";
    struct source sources[] = {
        { .name = "uno/serial.rx", .wanted = sizeof question - 1 }, /* as long as its answer */
        { .name = "knob/ep_81", .wanted = 20 * 8 },
        { .name = "tone/ep_83", .wanted = 19200 },
    };
    int left = sizeof sources / sizeof *sources, poll = epoll_create1(EPOLL_CLOEXEC), board, i;

    if (count != 2) {
        fprintf(stderr, "usage: epoll DIR\n");
        return 2;
    }
    need_demo(arguments[1]);
    for (i = 0; i < left; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = &sources[i] };
        /* A non-blocking open never waits; a read with nothing to read says EAGAIN. */
        sources[i].fd = open_in(arguments[1], sources[i].name, O_RDONLY | O_NONBLOCK);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, sources[i].fd, &event) < 0)
            die("epoll_ctl");
    }
    board = open_in(arguments[1], "uno/serial.tx", O_WRONLY);
    if (write(board, question, sizeof question - 1) < 0)
        die("uno/serial.tx");

    while (left > 0) {
        struct epoll_event events[8];
        int ready = epoll_wait(poll, events, 8, -1);
        for (i = 0; i < ready; i++) {
            struct source *source = events[i].data.ptr;
            char bytes[4096];
            ssize_t n = read(source->fd, bytes, sizeof bytes);
            if (n < 0 && errno != EAGAIN)
                die(source->name);
            if (n > 0 && (source->had += n) >= source->wanted) {
                printf("%s: %ld bytes\n", source->name, source->had);
                close(source->fd); /* which takes it out of the epoll as well */
                left--;
            }
        }
    }
    return 0;
}
