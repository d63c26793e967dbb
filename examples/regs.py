#!/usr/bin/env python3
"""The control pipe as a SEQPACKET socket: a message is the setup packet and its data, the answer a status byte and data."""

import socket
import struct
import sys


def main(directory):
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        control.connect(f"{directory}/regs/ep_00.sock")
    except OSError:
        sys.exit(f"regs.py: no demo runs in {directory}; start one in another terminal: usbpipe demo --dir {directory}")

    def request(request_type, number, value, index, length, data=b""):
        control.send(struct.pack("<BBHHH", request_type, number, value, index, length) + data)
        answer = control.recv(65536)
        if answer[0] != 0:
            raise OSError(f"the device answered with error {answer[0]}")
        return answer[1:]

    data = b"hello registers"
    request(0x40, 1, 0, 16, len(data), data)  # vendor request 1: write at register 16
    print(request(0xC0, 2, 0, 16, len(data)).decode())  # vendor request 2: read them back


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: regs.py DIR")
    main(sys.argv[1])
