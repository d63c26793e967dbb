#!/usr/bin/env python3
"""Descriptors from the daemon itself, over admin.sock (SCM_RIGHTS): no path is opened, and any process can be given one.

usage: descriptors.py DIR
"""

import json
import socket
import subprocess
import sys


def main(directory):
    admin = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        admin.connect(f"{directory}/admin.sock")
    except OSError:
        sys.exit(
            f"descriptors.py: no demo runs in {directory}; start one in another terminal: usbpipe demo --dir {directory}"
        )

    board = socket.socket(fileno=descriptor(admin, "uno", "serial", "socket"))  # both directions
    board.sendall(b"PING passed\n")
    print(board.makefile().readline(), end="")

    with open(descriptor(admin, "zero", "ep_81", "pipe"), "rb") as bulk:  # a pipe to read from
        print(subprocess.run(["head", "-c", "1000000"], stdin=bulk, stdout=subprocess.PIPE).stdout[:4].hex())

    packets = socket.socket(fileno=descriptor(admin, "knob", "ep_81", "packet"))  # a message for each transfer
    print(len(packets.recv(4096)), "bytes in a report")


def descriptor(admin, device, outlet, kind):
    """kind: pipe (one direction), socket (stream), or packet (SEQPACKET)."""
    request = {"cmd": "open", "device": device, "outlet": outlet, "pass": kind}
    admin.sendall(json.dumps(request).encode() + b"\n")
    reply, descriptors, _, _ = socket.recv_fds(admin, 65536, 1)
    if problem := json.loads(reply).get("error"):
        sys.exit(f"descriptors.py: {problem}")
    return descriptors[0]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
