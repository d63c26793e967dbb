//! One IN pipe to many readers, beside the program that one would write by hand: it reads, and writes what it read to
//! each connection in turn.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::process::Process;
use crate::role;
use crate::table::{Runs, Table};

/// What all readers together took, and the CPU time of who gave it to them.
struct Run {
    time: Duration,
    cpu: Duration,
    bytes: f64,
}

/// Device → TCP → daemon → so many sockets.
pub(crate) fn measure(lab: &Lab, table: &mut Table) {
    for readers in [1, 8, 32] {
        let bytes = ALL / readers as u64;
        let mut runs: (Vec<Run>, Vec<Run>) = Default::default();
        for _ in 0..RUNS {
            runs.0.push(usbpipe(lab, readers, bytes));
            runs.1.push(by_hand(&lab.path("share.sock"), readers, bytes));
        }
        let rates = |runs: &[Run]| Runs::of(runs.iter().map(|r| r.bytes / MIB / r.time.as_secs_f64()));
        let costs = |runs: &[Run]| Runs::of(runs.iter().map(|r| r.cpu.as_secs_f64() / (r.bytes / MIB / 1024.0)));
        table.figure(&format!("fan_out_{readers}_MiB_s"), &rates(&runs.0), &rates(&runs.1));
        table.figure(&format!("fan_out_{readers}_cpu_s_per_GiB"), &costs(&runs.0), &costs(&runs.1));
    }
    table.note(
        "fan_out_N: ep_81 of zero into N clients of its socket, counted together; a program that reads 64 KiB and",
    );
    table.note("fan_out_N: writes them to N connections in turn; no target");
}

fn usbpipe(lab: &Lab, readers: usize, bytes: u64) -> Run {
    let before = lab.daemon.cpu();
    let time = time_of(&lab.outlet("ep_81.sock"), readers, bytes);
    Run { time, cpu: lab.daemon.cpu() - before, bytes: bytes as f64 * readers as f64 }
}

fn by_hand(path: &Path, readers: usize, bytes: u64) -> Run {
    let _ = std::fs::remove_file(path);
    let source = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = source.local_addr().expect("it is bound").to_string();
    let connections = UnixListener::bind(path).expect("bound");
    let sender = role::sender(source, bytes);
    let sharer = role::sharer(connections, &format!("{address}/{readers}"), bytes);
    let time = time_of(path, readers, bytes);
    role::finish(sender);
    Run { time, cpu: sharer.finish(), bytes: bytes as f64 * readers as f64 }
}

/// From the start of the readers to the end of the last.
fn time_of(path: &Path, readers: usize, bytes: u64) -> Duration {
    let start = Instant::now();
    let readers: Vec<Process> = (0..readers).map(|_| role::client(path, bytes)).collect();
    for reader in readers {
        role::finish(reader);
    }
    start.elapsed()
}

const RUNS: usize = 5;
const MIB: f64 = 1024.0 * 1024.0;
/// Bytes that all readers take together.
const ALL: u64 = 2048 << 20;
