/*
 * A board with an ATmega328P at 16 MHz, simulated by simavr: its UART is a pseudo-terminal, its time is the clock's. It
 * refuses to know what the sketch does.
 *
 *   simulator uno.elf
 *
 * It prints `port /dev/pts/N`, and then `led on` or `led off` when pin 13 changes. SIGUSR1 is the reset button, SIGTERM
 * or the end of its standard input pull the plug. As on a wire, what the board sends and nobody takes is lost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <simavr/avr_ioport.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>

enum { HERTZ = 16000000, SLICE_US = 1000, CYCLES_PER_US = HERTZ / 1000000 };

static volatile sig_atomic_t reset_pressed, unplugged;
static int wire;            /* the host's end of the UART */
static bool uart_takes = true;

static void on_signal(int number)
{
    *(number == SIGUSR1 ? &reset_pressed : &unplugged) = 1;
}

static void fail(const char *what)
{
    fprintf(stderr, "simulator: %s: %s\n", what, errno ? strerror(errno) : "see above");
    exit(1);
}

/* simavr's own words go to standard error, unless they are mere chatter. */
static void log_line(struct avr_t *avr, const int level, const char *format, va_list values)
{
    (void)avr;
    if (level <= LOG_WARNING)
        vfprintf(stderr, format, values);
}

/* A raw line. The board holds its own end only: whoever looks sees no program at the other. */
static void lay_wire(void)
{
    struct termios raw;
    int far_end;
    char name[64];

    cfmakeraw(memset(&raw, 0, sizeof raw));
    raw.c_cflag |= CREAD | CLOCAL;
    cfsetspeed(&raw, B9600);
    if (openpty(&wire, &far_end, name, &raw, NULL) < 0 || fcntl(wire, F_SETFL, O_NONBLOCK) < 0)
        fail("pseudo-terminal");
    close(far_end);
    printf("port %s\n", name);
}

static bool somebody_listens(void)
{
    struct pollfd end = { .fd = wire };
    return poll(&end, 1, 0) == 0; /* else it was hung up */
}

static void on_byte(struct avr_irq_t *irq, uint32_t value, void *param)
{
    char byte = value;
    (void)irq, (void)param;
    if (somebody_listens() && write(wire, &byte, 1) < 0 && errno != EAGAIN)
        fail("pseudo-terminal");
}

static void on_xon(struct avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq, (void)value, (void)param;
    uart_takes = true;
}

static void on_xoff(struct avr_irq_t *irq, uint32_t value, void *param)
{
    (void)irq, (void)value, (void)param;
    uart_takes = false;
}

static void on_led(struct avr_irq_t *irq, uint32_t value, void *param)
{
    static uint32_t before;
    (void)irq, (void)param;
    if (value != before)
        puts(value ? "led on" : "led off");
    before = value;
}

/* Time passes for the board with the clock, so it need not be told of sleeping. */
static void on_sleep(avr_t *avr, avr_cycle_count_t cycles)
{
    (void)avr, (void)cycles;
}

static avr_t *board_with(const char *sketch)
{
    elf_firmware_t firmware = { 0 };
    avr_t *avr = avr_make_mcu_by_name("atmega328p");
    uint32_t uart_flags = 0;

    avr_global_logger_set(log_line);
    if (!avr || avr_init(avr) != 0 || elf_read_firmware(sketch, &firmware) != 0)
        fail(sketch);
    avr_load_firmware(avr, &firmware);
    avr->frequency = HERTZ;
    avr->sleep = on_sleep;
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &uart_flags);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_byte, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), on_xon, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), on_xoff, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('B'), 5), on_led, NULL);
    return avr;
}

/* Gives the UART what the host has sent, as long as it takes it. */
static void feed(avr_t *avr)
{
    avr_irq_t *input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    unsigned char byte;
    while (uart_takes && read(wire, &byte, 1) == 1)
        avr_raise_irq(input, byte);
}

static void run(avr_t *avr, avr_cycle_count_t until)
{
    while (avr->cycle < until) {
        int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed)
            fail("the sketch ended");
    }
}

static long long now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

/* Sleeps until then, or until a signal comes or the standard input ends. */
static void wait_until(long long due)
{
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    long long rest = due - now_us();
    struct timespec time = { .tv_nsec = rest > 0 ? rest * 1000 : 0 };
    char ignored[256];
    if (ppoll(&input, 1, &time, NULL) == 1 && read(STDIN_FILENO, ignored, sizeof ignored) == 0)
        unplugged = 1;
}

int main(int count, char **arguments)
{
    avr_t *avr;
    long long due;

    if (count != 2) {
        fprintf(stderr, "usage: simulator SKETCH.elf\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGUSR1, on_signal);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    avr = board_with(arguments[1]);
    lay_wire();
    for (due = now_us(); !unplugged; due += SLICE_US) {
        if (reset_pressed) {
            reset_pressed = 0;
            uart_takes = true;
            avr_reset(avr);
        }
        feed(avr);
        run(avr, avr->cycle + SLICE_US * CYCLES_PER_US);
        wait_until(due + SLICE_US);
        /* A machine that was busy elsewhere does not make up for it. */
        if (now_us() > due + 100 * SLICE_US)
            due = now_us();
    }
    return 0;
}
