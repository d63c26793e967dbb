#!/usr/bin/env python3
"""One program writes to the board, three read what it says: each client of a socket gets every byte, whoever asked.

usage: fan.py DIR
"""

import multiprocessing
import socket
import sys


def main(directory):
    readers = [connect(directory) for _ in range(3)]
    readers = [multiprocessing.Process(target=read, args=(n + 1, reader)) for n, reader in enumerate(readers)]
    for reader in readers:
        reader.start()
    writer = connect(directory)  # after the readers, so that all of them hear what it causes
    for question in ["PING 1", "LED ON", "SUM 1 2 3", "BYE"]:
        writer.sendall(f"{question}\n".encode())
    for reader in readers:
        reader.join()


def connect(directory):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.connect(f"{directory}/uno/serial.sock")
    except OSError:
        sys.exit(f"fan.py: no demo runs in {directory}; start one in another terminal: usbpipe demo --dir {directory}")
    return client


def read(number, reader):
    for line in reader.makefile():
        if "BYE" in line:  # which the board does not know, and says so
            return
        print(f"reader {number}: {line}", end="", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
