//! A process that has a lot open, so that looking through `/proc` takes long.

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on fails"
)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::common::wait_for;

/// One that has [`DESCRIPTORS`], or as many as it may.
pub struct Crowd(Child);

impl Crowd {
    /// Once it has them.
    pub fn start() -> Self {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let wanted = DESCRIPTORS.min(hard - RESERVE);
        let mut command = Command::new("sleep");
        command.arg("3600").stdin(Stdio::null());
        // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
                for _ in 0..wanted {
                    if libc::dup(0) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            })
        };
        let child = command.spawn().unwrap();
        let folder = format!("/proc/{}/fd", child.id());
        let count = || fs::read_dir(&folder).map_or(0, Iterator::count);
        wait_for(|| (count() as u64 >= wanted).then_some(()), || format!("{} descriptors", count()));
        if wanted < DESCRIPTORS {
            println!("a process may have {hard} descriptors here, where {DESCRIPTORS} were wanted");
        }
        Self(child)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const DESCRIPTORS: u64 = 20_000;
/// Those that a process has by itself.
const RESERVE: u64 = 32;
