//! What a process does to the kernel in a block of work: system calls, counted by strace(1), and switches to another
//! thread, of which the kernel keeps account. Neither depends on how fast the machine is.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// System calls of all threads of `process` while `work` runs.
///
/// # Errors
/// Why they cannot be counted here.
pub(crate) fn system_calls(process: Pid, work: impl FnOnce()) -> Result<u64, String> {
    let mut tracer = Command::new("strace")
        .args(["-c", "-f", "-U", "calls,name", "-p", &process.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("strace does not start ({e}; apt install strace, dnf install strace)"))?;
    let mut stderr = BufReader::new(tracer.stderr.take().expect("it is a pipe"));
    if let Err(said) = wait_until_attached(&mut stderr) {
        let _ = tracer.wait();
        return Err(format!("strace may not trace another process here ({})", said.trim()));
    }
    work();
    let summary = end(&mut tracer, stderr);
    total(&summary).ok_or_else(|| format!("strace printed no summary but {summary:?}"))
}

/// Voluntary switches of all threads of a process so far: proc_pid_status(5).
pub(crate) fn switches(process: Pid) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process is there");
    let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
    let count = |status: String| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
    };
    tasks.flatten().filter_map(|task| count(status(task))).sum()
}

fn wait_until_attached(stderr: &mut impl BufRead) -> Result<(), String> {
    let mut line = String::new();
    while !line.contains("attached") {
        line.clear();
        if stderr.read_line(&mut line).map_err(|e| e.to_string())? == 0 || line.contains("not permitted") {
            return Err(line);
        }
    }
    Ok(())
}

fn end(tracer: &mut Child, mut stderr: BufReader<ChildStderr>) -> String {
    let _ = kill(Pid::from_raw(tracer.id().cast_signed()), Signal::SIGINT);
    let mut summary = String::new();
    stderr.read_to_string(&mut summary).expect("text");
    let _ = tracer.wait();
    summary
}

/// The sum below the table: `12345 total`.
fn total(summary: &str) -> Option<u64> {
    summary.lines().find_map(|line| line.trim().strip_suffix(" total")?.trim().parse().ok())
}
