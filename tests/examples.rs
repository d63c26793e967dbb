//! The examples, run as a reader would run them.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::process::Command;

use common::{Daemon, PATIENCE, within};

/// What the example prints when it is given the demo's directory.
fn printed(demo: &Daemon, example: &str, more: &[&str]) -> String {
    let script = format!("{}/examples/{example}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(script);
    command.arg(&demo.dir).args(more);
    let output = within(PATIENCE, move || command.output().unwrap());
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_shell_examples_print_what_the_devices_answer() {
    let demo = Daemon::demo();
    assert!(printed(&demo, "ping.sh", &[]).starts_with("PONG "));
    assert_eq!(printed(&demo, "sum.sh", &[]), "SUM 15\n");
    let reports = printed(&demo, "knob.sh", &[]);
    assert_eq!(reports.lines().count(), 10);
    assert!(reports.lines().all(|report| report.ends_with("05 00")), "{reports}");
    let sound = demo.path("../tone.s16").display().to_string();
    assert!(printed(&demo, "tone.sh", &[&sound]).contains("ok e8030000"));
    assert_eq!(std::fs::metadata(&sound).unwrap().len(), 192_000);
}

#[test]
fn the_python_example_writes_and_reads_registers() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: python3 is not installed, so examples/regs.py was not run");
        return;
    }
    assert_eq!(printed(&Daemon::demo(), "regs.py", &[]), "hello registers\n");
}
