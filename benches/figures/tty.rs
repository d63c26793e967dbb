//! A serial port made available under another name: bytes from a program's terminal to a port and back. The port is a
//! pseudo-terminal, so that both sides do the same; the reference is `socat PTY,raw PTY,raw`.
//!
//! The program at the far end gets its end of the port as stdin: behind the daemon's port it is the master, behind
//! socat's the port itself.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::libc::O_NOCTTY;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};

use crate::lab::{Lab, start_daemon};
use crate::process::{OWN, Process, cores, own_cpu, place};
use crate::role;
use crate::table::{Runs, Table};

/// One side: what carries the bytes, and its two ends.
struct Side {
    carrier: Process,
    /// What the program opens.
    near: PathBuf,
    far: OwnedFd,
    /// Socat ends when nobody has its terminal open.
    _held: Option<File>,
    _stderr: Option<BufReader<ChildStderr>>,
}

#[derive(Default)]
struct Figures {
    into: Vec<f64>,
    out: Vec<f64>,
    /// CPU time of the carrier, a GiB.
    into_cpu: Vec<f64>,
    out_cpu: Vec<f64>,
}

#[derive(Default)]
struct Rounds {
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
}

/// Everything about terminals: throughput in both directions, and round trips.
pub(crate) fn measure(lab: &Lab, table: &mut Table) {
    let has_socat = Command::new("socat").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !has_socat {
        return table.note("tty is skipped: socat is missing (apt install socat, dnf install socat)");
    }
    let (ours, theirs) = (Side::usbpipe(&lab.path("tty")), Side::socat(&lab.path("socat")));
    throughput(table, &ours, &theirs);
    let cores = cores();
    if let [near, .., far] = cores[..] {
        round_trips(table, "tty_64", &ours, &theirs, near, far);
    } else {
        table.note("tty_64 is skipped: it needs a second core for the far end");
    }
    round_trips(table, "tty_64_one_core", &ours, &theirs, cores[0], cores[0]);
    place(OWN, &cores);
    table.note("tty: a program at `serial.tty` and one at the far end of the port; socat PTY,raw PTY,raw");
    table.note("tty: ratio of MiB/s at least 1.0, of CPU at most 1.0, of p50 at most 1.0");
}

fn throughput(table: &mut Table, ours: &Side, theirs: &Side) {
    let mut figures: [Figures; 2] = Default::default();
    for _ in 0..RUNS {
        for (side, figures) in [ours, theirs].into_iter().zip(&mut figures) {
            let (rate, cpu) = side.carry(|near| role::reader(near, BYTES), |far| role::feeder(far, BYTES));
            figures.into.push(rate);
            figures.into_cpu.push(cpu);
            let (rate, cpu) = side.carry(|near| role::writer(near, BYTES), |far| role::drainer(far, BYTES));
            figures.out.push(rate);
            figures.out_cpu.push(cpu);
        }
    }
    let [ours, theirs] = figures;
    let mut figure = |name, ours: Vec<f64>, theirs: Vec<f64>| table.figure(name, &Runs::of(ours), &Runs::of(theirs));
    figure("tty_in_MiB_s", ours.into, theirs.into);
    figure("tty_in_cpu_s_per_GiB", ours.into_cpu, theirs.into_cpu);
    figure("tty_out_MiB_s", ours.out, theirs.out);
    figure("tty_out_cpu_s_per_GiB", ours.out_cpu, theirs.out_cpu);
}

fn round_trips(table: &mut Table, name: &str, ours: &Side, theirs: &Side, near: usize, far: usize) {
    place(OWN, &[near]);
    let sides = [ours, theirs].map(|side| {
        place(side.carrier.pid(), &[near]);
        let echo = role::echo(copy(&side.far));
        place(echo.pid(), &[far]);
        let mut program = open(&side.near);
        block(&mut program);
        (side, echo, program)
    });
    let mut rounds: [Rounds; 2] = Default::default();
    let mut sides = sides;
    for _ in 0..BLOCKS {
        for ((side, _, program), rounds) in sides.iter_mut().zip(&mut rounds) {
            let cpu = || own_cpu() + side.carrier.cpu();
            let before = cpu();
            let mut times = block(program);
            rounds.cpu.push((cpu() - before).as_secs_f64() * 1e6 / times.len() as f64);
            times.sort_unstable();
            let quantile = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e6;
            rounds.p50.push(quantile(0.50));
            rounds.p99.push(quantile(0.99));
        }
    }
    let [ours, theirs] = rounds;
    table.figure(&format!("{name}_p50_us"), &Runs::of(ours.p50), &Runs::of(theirs.p50));
    table.figure(&format!("{name}_p99_us"), &Runs::of(ours.p99), &Runs::of(theirs.p99));
    table.figure(&format!("{name}_cpu_s_per_Mround"), &Runs::of(ours.cpu), &Runs::of(theirs.cpu));
}

fn block(program: &mut File) -> Vec<Duration> {
    let mut answer = [0; SIZE];
    let mut round = |n| {
        let question: [u8; SIZE] = std::array::from_fn(|at| (n + at) as u8);
        let start = Instant::now();
        program.write_all(&question).expect("written");
        program.read_exact(&mut answer).expect("an answer");
        let time = start.elapsed();
        assert_eq!(answer, question);
        time
    };
    (0..ROUNDS).map(&mut round).collect()
}

impl Side {
    /// The daemon, with a port whose far end is a master of ours.
    fn usbpipe(dir: &Path) -> Self {
        std::fs::create_dir(dir).expect("made");
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a pseudo-terminal");
        let port = dir.join("port");
        symlink(ptsname_r(&master).expect("it has a name"), &port).expect("a link");
        let config = format!(
            "[[device]]\nname = \"board\"\nbackend = \"serial\"\nmatch = {{ port = \"{}\" }}\n\
             [device.serial]\noutlets = [\"tty\"]\n",
            port.display()
        );
        let (carrier, stderr) = start_daemon(dir, &config);
        Self { carrier, near: dir.join("run/board/serial.tty"), far: master.into(), _held: None, _stderr: Some(stderr) }
    }

    fn socat(dir: &Path) -> Self {
        std::fs::create_dir(dir).expect("made");
        let ends = ["near", "far"].map(|end| dir.join(end));
        let terminals = ends.each_ref().map(|end| format!("PTY,raw,echo=0,link={}", end.display()));
        let carrier = Process::start(Command::new("socat").args(&terminals).stdin(Stdio::null()));
        while !ends.iter().all(|end| end.exists()) {
            std::thread::yield_now();
        }
        let [near, far] = ends;
        let held = open(&near);
        Self { carrier, near, far: open(&far).into(), _held: Some(held), _stderr: None }
    }

    /// Carries bytes between two programs; MiB/s, and CPU time of the carrier a GiB.
    fn carry(&self, near: impl Fn(&Path) -> Process, far: impl Fn(OwnedFd) -> Process) -> (f64, f64) {
        let before = self.carrier.cpu();
        let programs = (near(&self.near), far(copy(&self.far)));
        let time = role::finish(programs.0).max(role::finish(programs.1));
        let cpu = self.carrier.cpu() - before;
        let size = BYTES as f64 / f64::from(1 << 20);
        (size / time.as_secs_f64(), cpu.as_secs_f64() * 1024.0 / size)
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        self.carrier.terminate();
    }
}

fn copy(end: &OwnedFd) -> OwnedFd {
    end.as_fd().try_clone_to_owned().expect("one more descriptor")
}

/// As programs open a port, and make it raw.
fn open(path: &Path) -> File {
    let port = OpenOptions::new().read(true).write(true).custom_flags(O_NOCTTY).open(path).expect("opened");
    let mut settings = tcgetattr(&port).expect("a terminal");
    cfmakeraw(&mut settings);
    tcsetattr(&port, SetArg::TCSANOW, &settings).expect("set");
    port
}

const SIZE: usize = 64;
const BLOCKS: usize = 31;
const ROUNDS: usize = 2000;
const RUNS: usize = 11;
const BYTES: u64 = 64 << 20;
