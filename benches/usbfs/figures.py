#!/usr/bin/env python3
"""Figures of bridged bulk endpoints on a real USB stack, beside a hand-written libusb loop. Runs in the lab's guest.

usage: figures.py USBPIPE DIRECT [BACKEND]     both sides in turn, five times, and round trips nine times; one line a
figure: name usbpipe reference ratio. BACKEND is auto (nusb) unless given.
"""
import os, pathlib, signal, statistics, subprocess, sys, tempfile, time

GADGETS = pathlib.Path("/sys/kernel/config/usb_gadget")
RUNS = 5
ECHO_RUNS = 9
SECONDS = 4
ROUNDS = 3000
BACKEND = "".join(sys.argv[3:4]) or "auto"


class Gadget:
    """A device that the kernel plays on a controller of its own."""

    def __init__(self, number, function, attributes=()):
        self.ids = f"0525:b{number:03x}"
        root = GADGETS / f"figures{number}"
        (root / "strings/0x409").mkdir(parents=True)
        (root / "idVendor").write_text("0x0525")
        (root / "idProduct").write_text(f"0xb{number:03x}")
        (root / "strings/0x409/serialnumber").write_text(function)
        (root / "configs/c.1").mkdir()
        (root / "functions" / function).mkdir()
        for name, value in attributes:
            (root / "functions" / function / name).write_text(value)
        (root / "configs/c.1" / function).symlink_to(root / "functions" / function)
        (root / "UDC").write_text(f"dummy_udc.{number}")


class Daemon:
    """usbpipe with one bridged device, for as long as a block lasts: both sides want the device for themselves."""

    def __init__(self, program, ids, backend=BACKEND, before=()):
        self.dir = pathlib.Path(tempfile.mkdtemp())
        vid, pid = ids.split(":")
        config = self.dir / "usbpipe.toml"
        match = f"match = {{ vid = 0x{vid}, pid = 0x{pid} }}"
        config.write_text(f'[[device]]\nname = "g"\n{match}\nbackend = "{backend}"\ndetach = true\n')
        command = [*before, program, "--dir", self.dir / "run", "-c", config, "run"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "attach" in line:
                break
        self.outlets = self.dir / "run/g"
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.stderr.read()
        self.process.wait()


def cpu(pid):
    """User and system time of a process so far, in seconds: proc_pid_stat(5)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def moved(pid, direction):
    """Bytes that a process has read or written: proc_pid_io(5)."""
    for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines():
        name, value = line.split(": ")
        if name == direction:
            return int(value)


def flow(cat, mover, direction):
    """Lets bytes flow through cat for a while; MiB a second, and CPU seconds a GiB of the process that moves them."""
    time.sleep(1)
    before = time.monotonic(), moved(cat, direction), cpu(mover)
    time.sleep(SECONDS)
    after = time.monotonic(), moved(cat, direction), cpu(mover)
    seconds, count, used = (b - a for a, b in zip(before, after))
    return count / 2**20 / seconds, used / (count / 2**30)


def end(*processes):
    for process in processes:
        process.send_signal(signal.SIGKILL)
        process.wait()


def usbpipe_in(program, direct, ids):
    with Daemon(program, ids) as daemon, open(os.devnull, "wb") as null:
        cat = subprocess.Popen(["cat", daemon.outlets / "ep_81"], stdout=null)
        result = flow(cat.pid, daemon.pid, "rchar")
        end(cat)
        return result


def direct_in(program, direct, ids):
    with open(os.devnull, "wb") as null:
        loop = subprocess.Popen([direct, "in", ids, "0", "0x81"], stdout=subprocess.PIPE)
        cat = subprocess.Popen(["cat"], stdin=loop.stdout, stdout=null)
        result = flow(cat.pid, loop.pid, "rchar")
        end(loop, cat)
        return result


def usbpipe_out(program, direct, ids):
    with Daemon(program, ids) as daemon, open(daemon.outlets / "ep_02", "wb") as fifo:
        cat = subprocess.Popen(["cat", "/dev/zero"], stdout=fifo)
        result = flow(cat.pid, daemon.pid, "wchar")
        end(cat)
        return result


def direct_out(program, direct, ids):
    loop = subprocess.Popen([direct, "out", ids, "0", "0x02"], stdin=subprocess.PIPE)
    cat = subprocess.Popen(["cat", "/dev/zero"], stdout=loop.stdin)
    result = flow(cat.pid, loop.pid, "wchar")
    end(loop, cat)
    return result


def rounds(command):
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [statistics.median(float(line) for line in output.split()[ROUNDS // 10:])]


def usbpipe_echo(program, direct, ids, *how):
    with Daemon(program, ids, *how) as daemon:
        return rounds([direct, "fifos", "-", "-", daemon.outlets / "ep_02", daemon.outlets / "ep_81", str(ROUNDS)])


def direct_echo(program, direct, ids, backend=BACKEND, before=()):
    return rounds([*before, direct, "echo", ids, "0", "0x02", "0x81", str(ROUNDS)])


def measure(names, runs, ours, theirs, *arguments):
    results = [], []
    for _ in range(runs):
        results[0].append(ours(*arguments))
        results[1].append(theirs(*arguments))
    for name, a, b in zip(names, zip(*results[0]), zip(*results[1])):
        ours, theirs = statistics.median(a), statistics.median(b)
        print(f"{name:<34} {ours:>10.4g} {theirs:>10.4g} {ours / theirs:>6.2f}", flush=True)
        spread = [f"{min(side):.4g} to {max(side):.4g}" for side in (a, b)]
        print(f"# {name}: {runs} runs, usbpipe {spread[0]}, reference {spread[1]}", file=sys.stderr, flush=True)


def main():
    program, direct = sys.argv[1:3]
    # Pattern 0 is zeros: no time goes into making and checking what no side of the comparison looks at.
    source_sink = Gadget(0, "SourceSink.0", [("pattern", "0")])
    loopback = Gadget(1, "Loopback.0")
    time.sleep(2)
    print(f"{'name':<34} {'usbpipe':>10} {'reference':>10} {'ratio':>6}", flush=True)

    def bulk(direction, ours, theirs):
        names = [f"usbfs_{direction}_MiB_s", f"usbfs_{direction}_cpu_s_per_GiB"]
        measure(names, RUNS, ours, theirs, program, direct, source_sink.ids)

    def echo(name, *how):
        measure([name], ECHO_RUNS, usbpipe_echo, direct_echo, program, direct, loopback.ids, *how)

    bulk("in", usbpipe_in, direct_in)
    bulk("out", usbpipe_out, direct_out)
    echo("usbfs_echo_64_p50_us")
    # nusb reaps on a thread of its own. What waking one more processor costs in emulation shows in what follows: the
    # same where no other is woken, and with libusb, which has no such thread.
    echo("usbfs_echo_64_one_cpu_p50_us", BACKEND, ["taskset", "-c", "0"])
    echo("usbfs_echo_64_libusb_p50_us", "libusb")


main()
