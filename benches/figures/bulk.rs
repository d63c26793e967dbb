//! Bulk throughput beside socat, which does the same with bytes that are no transfers: TCP to a FIFO, and back.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::lab::Lab;
use crate::process::Process;
use crate::role;
use crate::table::{Runs, Table};

/// One run of one side.
struct Run {
    time: Duration,
    cpu: Duration,
}

/// Device → TCP → daemon → FIFO → reader.
pub(crate) fn measure_in(lab: &Lab, table: &mut Table) {
    measure("bulk_in", table, || usbpipe_in(lab), || socat_in(&lab.path("in")));
    table.note("bulk_in: ep_81 of zero into a reader; socat -u -b 65536 TCP OPEN:fifo; MiB/s ratio at least 1.0");
}

/// Writer → FIFO → daemon → TCP → device.
pub(crate) fn measure_out(lab: &Lab, table: &mut Table) {
    measure("bulk_out", table, || usbpipe_out(lab), || socat_out(&lab.path("out")));
    table.note("bulk_out: a writer into ep_01 of zero; socat -u -b 65536 OPEN:fifo TCP; no target");
}

fn measure(name: &str, table: &mut Table, usbpipe: impl Fn() -> Run, socat: impl Fn() -> Run) {
    let has_socat = Command::new("socat").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !has_socat {
        return table.note(&format!("{name} is skipped: socat is missing (apt install socat, dnf install socat)"));
    }
    let mut runs: (Vec<Run>, Vec<Run>) = Default::default();
    for _ in 0..RUNS {
        runs.0.push(usbpipe());
        runs.1.push(socat());
    }
    let rates = |runs: &[Run]| Runs::of(runs.iter().map(|r| MIB / r.time.as_secs_f64()));
    let costs = |runs: &[Run]| Runs::of(runs.iter().map(|r| r.cpu.as_secs_f64() / (MIB / 1024.0)));
    table.figure(&format!("{name}_MiB_s"), &rates(&runs.0), &rates(&runs.1));
    table.figure(&format!("{name}_cpu_s_per_GiB"), &costs(&runs.0), &costs(&runs.1));
}

fn usbpipe_in(lab: &Lab) -> Run {
    let before = lab.daemon.cpu();
    let time = role::finish(role::reader(&lab.outlet("ep_81"), BYTES));
    Run { time, cpu: lab.daemon.cpu() - before }
}

fn usbpipe_out(lab: &Lab) -> Run {
    let before = lab.daemon.cpu();
    let time = role::finish(role::writer(&lab.outlet("ep_01"), BYTES));
    Run { time, cpu: lab.daemon.cpu() - before }
}

fn socat_in(fifo: &Path) -> Run {
    make_fifo(fifo);
    let (listener, address) = listen();
    let sender = role::sender(listener, BYTES);
    let reader = role::reader(fifo, BYTES);
    let socat = socat(&address, &format!("OPEN:{},wronly", fifo.display()));
    let time = role::finish(reader);
    role::finish(sender);
    Run { time, cpu: socat.finish() }
}

fn socat_out(fifo: &Path) -> Run {
    make_fifo(fifo);
    let (listener, address) = listen();
    let receiver = role::receiver(listener, BYTES);
    let writer = role::writer(fifo, BYTES);
    let socat = socat(&format!("OPEN:{},rdonly", fifo.display()), &address);
    let time = role::finish(writer);
    role::finish(receiver);
    Run { time, cpu: socat.finish() }
}

fn socat(from: &str, to: &str) -> Process {
    Process::start(Command::new("socat").args(["-u", "-b", "65536", from, to]).stdin(Stdio::null()))
}

fn make_fifo(path: &Path) {
    if !path.exists() {
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).expect("made");
    }
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    (listener, format!("TCP:127.0.0.1:{port}"))
}

const RUNS: usize = 7;
const MIB: f64 = 2048.0;
const BYTES: u64 = 2048 << 20;
