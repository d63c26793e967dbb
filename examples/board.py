#!/usr/bin/env python3
"""A board on a serial port, by pyserial as it is: blocking with a timeout, without blocking, and blocking again.

usage: board.py DIR, the demo's; or board.py PORT, such as /dev/ttyACM0 of an Uno with firmware-mock/sketch/uno
"""

import os
import sys
import time

try:
    import serial
except ModuleNotFoundError:
    sys.exit("board.py: this Python has no pyserial; install the package python3-serial, or: pip install pyserial")


def main(place):
    with open_port(place) as port:
        wait_for_board(port)
        print(ask(port, b"LED ON"))
        port.timeout = 0
        for i in range(5):
            print(ask_without_blocking(port, b"PING %d" % i))
        port.timeout = 1
        print(ask(port, b"STATUS"))


def open_port(place):
    path = place if os.path.exists(place) and not os.path.isdir(place) else f"{place}/uno/serial.tty"
    try:
        return serial.Serial(path, 9600, bytesize=8, parity="N", stopbits=1, timeout=1)
    except serial.SerialException as e:
        print(f"board.py: {e}", file=sys.stderr)
        sys.exit(f"board.py: no demo runs in {place}; start one in another terminal: usbpipe demo --dir {place}")


def wait_for_board(port):
    """A board that opening its port has reset takes a second or two before it answers."""
    for _ in range(10):
        port.write(b"PING are you there\n")
        while line := port.readline():  # empty after the timeout
            if line == b"PONG are you there\n":
                return
    sys.exit(f"board.py: {port.port} is open, but nothing answers on it")


def ask(port, question):
    port.write(question + b"\n")
    return port.readline().decode().rstrip("\n")


def ask_without_blocking(port, question):
    """readline() gives what is there: nothing, or a part of a line. The time in between is this program's own."""
    port.write(question + b"\n")
    line, deadline = b"", time.monotonic() + 5
    while not line.endswith(b"\n"):
        if time.monotonic() > deadline:
            sys.exit(f"board.py: no answer to {question.decode()}")
        time.sleep(0.001)
        line += port.readline()
    return line.decode().rstrip("\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
