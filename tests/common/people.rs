//! Other users of this machine: threads of a test that run as one. The kernel keeps user and groups for each thread.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test binary uses its own part of it"
)]

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::scope;

use nix::libc::{self, c_long};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::PATIENCE;

/// Debian's `nobody` and `nogroup`.
pub const NOBODY: u32 = 65534;
/// Debian's group `daemon`, which has no members.
pub const DAEMON_GROUP: u32 = 1;

/// Whether this process can be other users; otherwise says that the test is skipped.
pub fn can_be_others(test: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        println!("skipped: {test}: needs root to be another user");
    }
    is_root
}

/// Does something as this user, who is in the group of the same number and in these.
pub fn as_user<T: Send>(user: u32, groups: &[u32], work: impl FnOnce() -> T + Send) -> T {
    let run = || {
        become_user(user, groups);
        work()
    };
    scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Changes this thread for good.
pub fn become_user(user: u32, groups: &[u32]) {
    let id = c_long::from(user);
    // SAFETY: the system calls themselves, which concern this thread alone, unlike the functions of the C library; the list
    // outlives the call.
    let results = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()),
            libc::syscall(libc::SYS_setresgid, id, id, id),
            libc::syscall(libc::SYS_setresuid, id, id, id),
        ]
    };
    assert_eq!(results, [0; 3], "{}", std::io::Error::last_os_error());
}

/// A folder that other users can enter, with a run dir's name in it.
pub fn public_place() -> (TempDir, PathBuf) {
    let temp = TempDir::new().unwrap();
    std::fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
    let dir = temp.path().join("run");
    (temp, dir)
}

/// A connection to `admin.sock`.
pub struct Admin(BufReader<UnixStream>);

impl Admin {
    pub fn connect(dir: &Path) -> Self {
        let stream = UnixStream::connect(dir.join("admin.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    /// The reply to one request.
    pub fn ask(&mut self, request: &str) -> Value {
        writeln!(self.0.get_mut(), "{request}").unwrap();
        self.line().unwrap_or_else(|| panic!("no reply to {request}"))
    }

    /// The connection, after a request that made it something else. What was read ahead of that is in it.
    pub fn into_stream(self) -> impl std::io::Read {
        self.0
    }

    /// What the daemon sends next; `None` at the end.
    pub fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}")))
    }
}
