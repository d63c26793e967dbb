//! A serial port made available as another outlet: bytes from a program to the port and back, through a terminal, a
//! socket and FIFOs. The port is a pseudo-terminal, so that both sides do the same; the reference is socat between the
//! same two ends.
//!
//! The program at the far end gets its end of the port as stdin: behind the daemon's port it is the master, behind
//! socat's the port itself. The program at the near end gets what was opened once for all runs.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::libc::O_NOCTTY;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::mkfifo;

use crate::lab::{Lab, start_daemon};
use crate::process::{OWN, Process, cores, place};
use crate::role;
use crate::rounds::{self, compare};
use crate::table::{Runs, Table};

/// What programs open at the near end.
#[derive(Clone, Copy)]
pub(crate) enum Outlet {
    Tty,
    Socket,
    Fifo,
}

/// One side: what carries the bytes, and its ends.
struct Side {
    carrier: Process,
    /// What the program reads and writes; the same of a terminal and of a socket.
    near: (File, File),
    far: OwnedFd,
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

/// Throughput in both directions, and round trips.
pub(crate) fn measure(lab: &Lab, table: &mut Table, outlet: Outlet) {
    let name = outlet.name();
    let has_socat = Command::new("socat").arg("-V").stdout(Stdio::null()).status().is_ok();
    if !has_socat {
        return table.note(&format!("{name} is skipped: socat is missing (apt install socat, dnf install socat)"));
    }
    let (ours, theirs) = (Side::usbpipe(lab, outlet), Side::socat(lab, outlet));
    throughput(table, name, &ours, &theirs);
    let cores = cores();
    if let [near, .., far] = cores[..] {
        round_trips(table, &format!("{name}_64"), [&ours, &theirs], near, far);
    } else {
        table.note(&format!("{name}_64 is skipped: it needs a second core for the far end"));
    }
    round_trips(table, &format!("{name}_64_one_core"), [&ours, &theirs], cores[0], cores[0]);
    place(OWN, &cores);
    table.note(&format!("{name}: a program at {} and one at the far end of the port;", outlet.here()));
    table.note(&format!("{name}: ratio of MiB/s at least 1.0, of CPU at most 1.0, of p50 at most 0.95"));
}

fn throughput(table: &mut Table, name: &str, ours: &Side, theirs: &Side) {
    let mut figures: [Figures; 2] = Default::default();
    for _ in 0..RUNS {
        for (side, figures) in [ours, theirs].into_iter().zip(&mut figures) {
            let (rate, cpu) = side.carry(|near, _| role::drainer(near, BYTES), |far| role::feeder(far, BYTES));
            figures.into.push(rate);
            figures.into_cpu.push(cpu);
            let (rate, cpu) = side.carry(|_, near| role::feeder(near, BYTES), |far| role::drainer(far, BYTES));
            figures.out.push(rate);
            figures.out_cpu.push(cpu);
        }
    }
    let [ours, theirs] = figures;
    let mut figure =
        |what, a: Vec<f64>, b: Vec<f64>| table.figure(&format!("{name}_{what}"), &Runs::of(a), &Runs::of(b));
    figure("in_MiB_s", ours.into, theirs.into);
    figure("in_cpu_s_per_GiB", ours.into_cpu, theirs.into_cpu);
    figure("out_MiB_s", ours.out, theirs.out);
    figure("out_cpu_s_per_GiB", ours.out_cpu, theirs.out_cpu);
}

fn round_trips(table: &mut Table, name: &str, sides: [&Side; 2], near: usize, far: usize) {
    place(OWN, &[near]);
    let _echoes = sides.map(|side| {
        place(side.carrier.pid(), &[near]);
        let echo = role::echo(copy(&side.far));
        place(echo.pid(), &[far]);
        echo
    });
    let [mut ours, mut theirs] = sides.map(|side| |rounds| block(&side.near, rounds));
    let [of_ours, of_theirs] = sides.map(|side| side.carrier.pid());
    let ours = rounds::Side { process: of_ours, block: &mut ours };
    let theirs = rounds::Side { process: of_theirs, block: &mut theirs };
    compare(table, name, BLOCKS, ours, theirs);
}

fn block((from, to): &(File, File), rounds: usize) -> Vec<Duration> {
    let (mut from, mut to) = (from, to);
    let mut answer = [0; SIZE];
    let mut round = |n| {
        let question: [u8; SIZE] = std::array::from_fn(|at| (n + at) as u8);
        let start = Instant::now();
        to.write_all(&question).expect("written");
        from.read_exact(&mut answer).expect("an answer");
        let time = start.elapsed();
        assert_eq!(answer, question);
        time
    };
    (0..rounds).map(&mut round).collect()
}

impl Outlet {
    fn name(self) -> &'static str {
        match self {
            Self::Tty => "tty",
            Self::Socket => "serial_socket",
            Self::Fifo => "serial_fifo",
        }
    }

    /// Its word in a configuration.
    fn word(self) -> &'static str {
        match self {
            Self::Tty => "tty",
            Self::Socket => "socket",
            Self::Fifo => "fifo",
        }
    }

    fn here(self) -> &'static str {
        match self {
            Self::Tty => "`serial.tty`; socat PTY,raw PTY,raw",
            Self::Socket => "`serial.sock`; socat UNIX-LISTEN PTY,raw",
            Self::Fifo => "`serial.rx` and `serial.tx`; socat OPEN:tx!!OPEN:rx PTY,raw",
        }
    }
}

impl Side {
    /// The daemon, with a port whose far end is a master of ours.
    fn usbpipe(lab: &Lab, outlet: Outlet) -> Self {
        let dir = lab.path(&format!("{}-usbpipe", outlet.name()));
        std::fs::create_dir(&dir).expect("made");
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).expect("a pseudo-terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("a pseudo-terminal");
        let port = dir.join("port");
        symlink(ptsname_r(&master).expect("it has a name"), &port).expect("a link");
        let config = format!(
            "[[device]]\nname = \"board\"\nbackend = \"serial\"\nmatch = {{ port = \"{}\" }}\n\
             [device.serial]\noutlets = [\"{}\"]\n",
            port.display(),
            outlet.word()
        );
        let (carrier, stderr) = start_daemon(&dir, &config);
        let board = dir.join("run/board");
        let near = match outlet {
            Outlet::Tty => terminal(&board.join("serial.tty")),
            Outlet::Socket => connection(&board.join("serial.sock")),
            Outlet::Fifo => fifos(&board.join("serial.rx"), &board.join("serial.tx")),
        };
        Self { carrier, near, far: master.into(), _stderr: Some(stderr) }
    }

    fn socat(lab: &Lab, outlet: Outlet) -> Self {
        let dir = lab.path(&format!("{}-socat", outlet.name()));
        std::fs::create_dir(&dir).expect("made");
        let [near, rx, tx, far] = ["near", "rx", "tx", "far"].map(|end| dir.join(end));
        let address = match outlet {
            Outlet::Tty => format!("PTY,raw,echo=0,link={}", near.display()),
            Outlet::Socket => format!("UNIX-LISTEN:{}", near.display()),
            Outlet::Fifo => {
                for fifo in [&rx, &tx] {
                    mkfifo(fifo, Mode::S_IRUSR | Mode::S_IWUSR).expect("made");
                }
                format!("OPEN:{},rdonly!!OPEN:{},wronly", tx.display(), rx.display())
            }
        };
        let port = format!("PTY,raw,echo=0,link={}", far.display());
        let carrier = Process::start(Command::new("socat").args([&address, &port]).stdin(Stdio::null()));
        let near = match outlet {
            Outlet::Tty => terminal(&there(&near)),
            Outlet::Socket => connection(&there(&near)),
            Outlet::Fifo => fifos(&rx, &tx),
        };
        Self { carrier, near, far: open(&there(&far)).into(), _stderr: None }
    }

    /// Carries bytes between two programs; MiB/s, and CPU time of the carrier a GiB.
    fn carry(&self, near: impl Fn(OwnedFd, OwnedFd) -> Process, far: impl Fn(OwnedFd) -> Process) -> (f64, f64) {
        let before = self.carrier.cpu();
        let programs = (near(copy(&self.near.0), copy(&self.near.1)), far(copy(&self.far)));
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

fn copy(end: impl AsFd) -> OwnedFd {
    end.as_fd().try_clone_to_owned().expect("one more descriptor")
}

/// Waits until socat has made it.
fn there(path: &Path) -> PathBuf {
    while !path.exists() {
        std::thread::yield_now();
    }
    path.to_owned()
}

fn twice(end: impl AsFd) -> (File, File) {
    (copy(&end).into(), copy(&end).into())
}

fn terminal(path: &Path) -> (File, File) {
    twice(open(path))
}

fn connection(path: &Path) -> (File, File) {
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return twice(stream),
            // Bound, and about to listen.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => std::thread::yield_now(),
            Err(e) => panic!("{}: {e}", path.display()),
        }
    }
}

/// In the order in which socat opens them.
fn fifos(rx: &Path, tx: &Path) -> (File, File) {
    let to = OpenOptions::new().write(true).open(tx).expect("opened");
    (File::open(rx).expect("opened"), to)
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
const BLOCKS: usize = 11;
const RUNS: usize = 5;
const BYTES: u64 = 64 << 20;
