/* The reference of the figures: what a programmer would write by hand with libusb's asynchronous interface, and no
 * more. It moves bytes between one endpoint and its standard input or output, or times round trips of 64 bytes.
 *
 *   direct in VID:PID INTERFACE EP        endpoint to stdout, for ever
 *   direct out VID:PID INTERFACE EP       stdin to endpoint, to the end of file
 *   direct echo VID:PID INTERFACE OUT IN ROUNDS      round trips over USB: microseconds, one a line
 *   direct fifos - - OUT IN ROUNDS        the same through two FIFOs, by the same clock
 */
#include <errno.h>
#include <fcntl.h>
#include <libusb-1.0/libusb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TRANSFERS = 8, SIZE = 65536, ECHO = 64 };

static int in_flight;

static void fail(const char *what, int code)
{
	fprintf(stderr, "direct: %s: %s\n", what, code ? libusb_error_name(code) : strerror(errno));
	exit(1);
}

static void submit(struct libusb_transfer *transfer)
{
	int code = libusb_submit_transfer(transfer);
	if (code)
		fail("submit", code);
	in_flight++;
}

static void received(struct libusb_transfer *transfer)
{
	in_flight--;
	if (transfer->status != LIBUSB_TRANSFER_COMPLETED)
		fail("transfer", LIBUSB_ERROR_IO);
	for (int done = 0; done < transfer->actual_length;) {
		ssize_t n = write(STDOUT_FILENO, transfer->buffer + done, transfer->actual_length - done);
		if (n < 0)
			fail("write", 0);
		done += n;
	}
	submit(transfer);
}

static void refill(struct libusb_transfer *transfer)
{
	ssize_t n = read(STDIN_FILENO, transfer->buffer, SIZE);
	if (n < 0)
		fail("read", 0);
	transfer->length = n;
	if (n > 0)
		submit(transfer);
}

static void sent(struct libusb_transfer *transfer)
{
	in_flight--;
	if (transfer->status != LIBUSB_TRANSFER_COMPLETED)
		fail("transfer", LIBUSB_ERROR_IO);
	refill(transfer);
}

static void stream(libusb_device_handle *device, int endpoint, int is_in)
{
	for (int i = 0; i < TRANSFERS; i++) {
		struct libusb_transfer *transfer = libusb_alloc_transfer(0);
		libusb_fill_bulk_transfer(transfer, device, endpoint, malloc(SIZE), SIZE, is_in ? received : sent, NULL, 0);
		if (is_in)
			submit(transfer);
		else
			refill(transfer);
	}
	while (in_flight > 0)
		libusb_handle_events(NULL);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static int back_length;
static unsigned char *back_data;

static void came_back(struct libusb_transfer *transfer)
{
	in_flight--;
	if (transfer->status != LIBUSB_TRANSFER_COMPLETED)
		fail("echo", LIBUSB_ERROR_IO);
	back_length = transfer->actual_length;
	memcpy(back_data, transfer->buffer, ECHO);
	submit(transfer);
}

static void went_out(struct libusb_transfer *transfer)
{
	in_flight--;
	if (transfer->status != LIBUSB_TRANSFER_COMPLETED)
		fail("echo", LIBUSB_ERROR_IO);
}

/* As in a stream, transfers wait for what comes back before anything goes out. */
static void await(libusb_device_handle *device, int in)
{
	back_data = malloc(ECHO);
	for (int i = 0; i < TRANSFERS; i++) {
		struct libusb_transfer *transfer = libusb_alloc_transfer(0);
		libusb_fill_bulk_transfer(transfer, device, in, malloc(SIZE), SIZE, came_back, NULL, 0);
		submit(transfer);
	}
}

static void echo_usb(libusb_device_handle *device, int out, unsigned char *data)
{
	static struct libusb_transfer *transfer;
	if (!transfer)
		transfer = libusb_alloc_transfer(0);
	libusb_fill_bulk_transfer(transfer, device, out, data, ECHO, went_out, NULL, 0);
	back_length = 0;
	submit(transfer);
	while (!back_length || in_flight > TRANSFERS)
		libusb_handle_events(NULL);
	if (back_length != ECHO || memcmp(back_data, data, ECHO))
		fail("echo", LIBUSB_ERROR_IO);
}

static void echo_fifos(int out, int in, unsigned char *data)
{
	unsigned char back[512];
	if (write(out, data, ECHO) != ECHO || read(in, back, sizeof back) != ECHO || memcmp(back, data, ECHO))
		fail("echo", LIBUSB_ERROR_IO);
}

static libusb_device_handle *device(const char *ids, int interface)
{
	unsigned vid, pid;
	if (sscanf(ids, "%x:%x", &vid, &pid) != 2 || libusb_init(NULL))
		fail("start", LIBUSB_ERROR_INVALID_PARAM);
	libusb_device_handle *device = libusb_open_device_with_vid_pid(NULL, vid, pid);
	if (!device)
		fail(ids, LIBUSB_ERROR_NO_DEVICE);
	libusb_set_auto_detach_kernel_driver(device, 1);
	int code = libusb_claim_interface(device, interface);
	if (code)
		fail("claim", code);
	return device;
}

int main(int argc, char **argv)
{
	if (argc < 5)
		fail("usage", LIBUSB_ERROR_INVALID_PARAM);
	if (argc < 7) {
		stream(device(argv[2], atoi(argv[3])), strtol(argv[4], NULL, 0), !strcmp(argv[1], "in"));
		return 0;
	}
	int is_usb = !strcmp(argv[1], "echo");
	libusb_device_handle *usb = is_usb ? device(argv[2], atoi(argv[3])) : NULL;
	int in = is_usb ? (int)strtol(argv[5], NULL, 0) : open(argv[5], O_RDONLY);
	int out = is_usb ? (int)strtol(argv[4], NULL, 0) : open(argv[4], O_WRONLY);
	unsigned char data[ECHO] = {0};
	if (is_usb)
		await(usb, in);
	for (int round = 0; round < atoi(argv[6]); round++) {
		memcpy(data, &round, sizeof round);
		double start = now();
		if (is_usb)
			echo_usb(usb, out, data);
		else
			echo_fifos(out, in, data);
		printf("%.1f\n", now() - start);
	}
	return 0;
}
