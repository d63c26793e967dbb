//! The figures of usbpipe: the real daemon between simulated devices and plain programs, beside a reference.
//!
//! It starts everything itself, each part a process of its own so that CPU times can be told apart, and measures both
//! sides in turn. It refuses to run without `--bench`, so that `cargo test --all-targets` costs nothing.

mod bulk;
mod calls;
mod echo;
mod fan_out;
mod lab;
mod process;
mod role;
mod rounds;
mod serial;
mod table;

use std::process::ExitCode;

use lab::Lab;
use serial::Outlet;
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
    let is_known = |wanted: &&str| FIGURES.iter().any(|(name, group, _)| [name, group].contains(&wanted));
    if let Some(unknown) = wanted.iter().find(|name| !is_known(name)) {
        let names: Vec<&str> = FIGURES.iter().map(|(name, ..)| *name).collect();
        eprintln!("there is no figure {unknown:?}; there are {}, and bulk and serial", names.join(", "));
        return ExitCode::from(2);
    }
    let lab = Lab::new();
    let mut table = Table::new();
    for (name, group, measure) in FIGURES {
        if wanted.is_empty() || wanted.contains(name) || wanted.contains(group) {
            measure(&lab, &mut table);
        }
    }
    ExitCode::SUCCESS
}

type Measure = fn(&Lab, &mut Table);

/// Names, and what several of them are called together.
const FIGURES: &[(&str, &str, Measure)] = &[
    ("bulk_in", "bulk", bulk::measure_in),
    ("echo", "", echo::measure),
    ("bulk_out", "bulk", bulk::measure_out),
    ("fan_out", "", fan_out::measure),
    ("tty", "serial", |lab, table| serial::measure(lab, table, Outlet::Tty)),
    ("serial_socket", "serial", |lab, table| serial::measure(lab, table, Outlet::Socket)),
    ("serial_fifo", "serial", |lab, table| serial::measure(lab, table, Outlet::Fifo)),
];
