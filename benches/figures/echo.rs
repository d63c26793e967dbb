//! Echo of 64 bytes: out through one endpoint, back through another. Through two FIFOs of the daemon, beside a program
//! that submits the same transfers itself.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use usbpipe::usb::{Pipe, Transfer, UsbDevice, complete, usbip};

use nix::unistd::Pid;

use crate::lab::Lab;
use crate::process::cores;
use crate::rounds::{Side, compare};
use crate::table::Table;

/// A program that uses the FIFOs: a blocking write, a blocking read.
struct Fifos {
    ep_02: File,
    ep_82: File,
}

/// A program that uses the backend: its IN transfer waits before the OUT transfer goes.
struct Direct {
    runtime: Runtime,
    ends: Ends,
}

struct Ends {
    into: Box<dyn Pipe>,
    out: Box<dyn Pipe>,
    spare: Option<(Transfer, Transfer)>,
}

/// In two placements, because the kernel's own choice differs from run to run and between the sides: a wakeup of
/// another core costs more than all the work of a round.
pub(crate) fn measure(lab: &Lab, table: &mut Table) {
    let cores = cores();
    let (mut fifos, mut direct) = (Fifos::open(lab), Direct::open(lab));
    let mut both = |table: &mut Table, name| {
        let ours = Side { process: lab.daemon.pid(), block: &mut |rounds| fifos.block(rounds) };
        let theirs = Side { process: Pid::this(), block: &mut |rounds| direct.block(rounds) };
        compare(table, name, BLOCKS, ours, theirs);
    };
    if let [host, .., device] = cores[..] {
        lab.place(&[host], &[device]);
        both(table, "echo_64");
    } else {
        table.note("echo_64 is skipped: it needs a second core for the simulated device");
    }
    lab.place(&cores[..1], &cores[..1]);
    both(table, "echo_64_one_core");
    lab.place(&cores, &cores);
    table.note(
        "echo_64: 64 bytes into ep_02 and back from ep_82 of zero; the same transfers made by the program itself",
    );
    table.note("echo_64: ratio of p50 at most 1.5, of p99 at most 2.5, at most 6 calls; CPU is the program's and the");
    table.note("echo_64: daemon's, calls and switches are the daemon's and, of the reference, the program's");
    table.note("echo_64_one_core: device, daemon and program share one core, so that nothing goes on at the same time");
}

impl Fifos {
    fn open(lab: &Lab) -> Self {
        let ep_82 = File::open(lab.outlet("ep_82")).expect("opened");
        let ep_02 = OpenOptions::new().write(true).open(lab.outlet("ep_02")).expect("opened");
        Self { ep_02, ep_82 }
    }

    fn block(&mut self, rounds: usize) -> Vec<Duration> {
        let mut answer = [0; SIZE];
        let mut round = |n| {
            let question = message(n);
            let start = Instant::now();
            self.ep_02.write_all(&question).expect("written");
            self.ep_82.read_exact(&mut answer).expect("an answer");
            let time = start.elapsed();
            assert_eq!(answer, question);
            time
        };
        (0..rounds).map(&mut round).collect()
    }
}

impl Direct {
    fn open(lab: &Lab) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let busid = lab.direct.busid.as_deref().expect("the lab names one");
        let device = runtime.block_on(usbip::open(&lab.direct, busid)).expect("the simulated device is there");
        let pipe = |address| {
            let (_, endpoint) = device.descriptors().find_endpoint(address, None, None).expect("zero has it");
            let _in_the_runtime = runtime.enter();
            device.open_pipe(&endpoint).expect("the device is there")
        };
        let (into, out) = (pipe(0x82), pipe(0x02));
        let spare = Some((Transfer::new(PACKET), Transfer::new(SIZE)));
        Self { runtime, ends: Ends { into, out, spare } }
    }

    fn block(&mut self, rounds: usize) -> Vec<Duration> {
        let Self { runtime, ends } = self;
        runtime.block_on(async {
            let mut times = Vec::with_capacity(rounds);
            for n in 0..rounds {
                times.push(ends.round(n).await);
            }
            times
        })
    }
}

impl Ends {
    async fn round(&mut self, n: usize) -> Duration {
        let (answer, mut question) = self.spare.take().expect("they come back each time");
        let message = message(n);
        let start = Instant::now();
        question.buffer.copy_from_slice(&message);
        self.into.submit(answer);
        self.out.submit(question);
        let answer = complete(&mut *self.into).await;
        let time = start.elapsed();
        let question = complete(&mut *self.out).await;
        assert_eq!(answer.received(), message);
        self.spare = Some((answer, question));
        time
    }
}

/// Bytes that differ from one round to the next.
fn message(n: usize) -> [u8; SIZE] {
    std::array::from_fn(|at| (n + at) as u8)
}

const SIZE: usize = 64;
/// Room for the answer: IN transfers ask for whole packets.
const PACKET: usize = 512;
const BLOCKS: usize = 11;
