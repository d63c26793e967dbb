//! The figures of usbpipe: the real daemon between simulated devices and plain programs, beside a reference.
//!
//! It starts everything itself, each part a process of its own so that CPU times can be told apart, and measures both
//! sides in turn. It refuses to run without `--bench`, so that `cargo test --all-targets` costs nothing.

mod bulk;
mod echo;
mod fan_out;
mod lab;
mod process;
mod role;
mod table;
mod tty;

use std::process::ExitCode;

use lab::Lab;
use table::Table;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == role::MARK) {
        role::play(&args[1..]);
        return ExitCode::SUCCESS;
    }
    if !args.iter().any(|arg| arg == "--bench") {
        eprintln!("nothing measured: run `benches/run`, or `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&str> = args.iter().map(String::as_str).filter(|arg| !arg.starts_with("--")).collect();
    if let Some(unknown) = wanted.iter().find(|name| !FIGURES.contains(name)) {
        eprintln!("there is no figure {unknown:?}; there are {}", FIGURES.join(", "));
        return ExitCode::from(2);
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.contains(&name);
    let lab = Lab::new();
    let mut table = Table::new();
    if is_wanted(FIGURES[0]) {
        bulk::measure_in(&lab, &mut table);
    }
    if is_wanted(FIGURES[1]) {
        echo::measure(&lab, &mut table);
    }
    if is_wanted(FIGURES[2]) {
        bulk::measure_out(&lab, &mut table);
    }
    if is_wanted(FIGURES[3]) {
        fan_out::measure(&lab, &mut table);
    }
    if is_wanted(FIGURES[4]) {
        tty::measure(&lab, &mut table);
    }
    ExitCode::SUCCESS
}

const FIGURES: [&str; 5] = ["bulk_in", "echo", "bulk_out", "fan_out", "tty"];
