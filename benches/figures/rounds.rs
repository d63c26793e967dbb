//! Round trips of both sides: how long they took, and what they cost.

use std::time::Duration;

use nix::unistd::Pid;

use crate::calls::{switches, system_calls};
use crate::process::{cpu, own_cpu};
use crate::table::{Runs, Table};

/// One side of a comparison.
pub(crate) struct Side<'a> {
    /// The process whose system calls and switches are counted.
    pub(crate) process: Pid,
    /// Makes this many round trips, and gives the time of each.
    pub(crate) block: &'a mut dyn FnMut(usize) -> Vec<Duration>,
}

/// What the blocks of one side showed.
#[derive(Default)]
struct Blocks {
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
    switches: Vec<f64>,
}

/// Runs both sides in turn and prints their figures; CPU is that of the process and of this one.
pub(crate) fn compare(table: &mut Table, name: &str, blocks: usize, mut ours: Side<'_>, mut theirs: Side<'_>) {
    ours.warm_up();
    theirs.warm_up();
    let (mut a, mut b) = (Blocks::default(), Blocks::default());
    for _ in 0..blocks {
        ours.measure(&mut a);
        theirs.measure(&mut b);
    }
    let mut figure = |what: &str, a, b| table.figure(&format!("{name}_{what}"), &Runs::of(a), &Runs::of(b));
    figure("p50_us", a.p50, b.p50);
    figure("p99_us", a.p99, b.p99);
    figure("cpu_s_per_Mround", a.cpu, b.cpu);
    figure("switches_per_round", a.switches, b.switches);
    match ours.calls().and_then(|ours| Ok((ours, theirs.calls()?))) {
        Ok((ours, theirs)) => figure("calls_per_round", vec![ours], vec![theirs]),
        Err(why) => table.note(&format!("{name}_calls_per_round is skipped: {why}")),
    }
}

impl Side<'_> {
    fn warm_up(&mut self) {
        (self.block)(ROUNDS);
    }

    fn measure(&mut self, blocks: &mut Blocks) {
        let before = (self.cpu(), switches(self.process));
        let mut times = (self.block)(ROUNDS);
        let after = (self.cpu(), switches(self.process));
        blocks.cpu.push((after.0 - before.0).as_secs_f64() * 1e6 / ROUNDS as f64);
        blocks.switches.push((after.1 - before.1) as f64 / ROUNDS as f64);
        times.sort_unstable();
        let quantile = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e6;
        blocks.p50.push(quantile(0.50));
        blocks.p99.push(quantile(0.99));
    }

    fn cpu(&self) -> Duration {
        let others = if self.process == Pid::this() { Duration::ZERO } else { cpu(&self.process.to_string()) };
        own_cpu() + others
    }

    fn calls(&mut self) -> Result<f64, String> {
        let mut rounds = || drop((self.block)(ROUNDS));
        Ok(system_calls(self.process, &mut rounds)? as f64 / ROUNDS as f64)
    }
}

/// Round trips of one block.
const ROUNDS: usize = 2000;
