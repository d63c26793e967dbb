//! Named pipes that programs connect to. Knows nothing of what goes through them.
//!
//! Several instances wait at any time, because many programs open a pipe once to see whether it is there and then again
//! to use it. Each that was taken is replaced before its client is told of.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use windows_sys::Win32::Foundation::ERROR_NO_DATA;

use super::overlapped::Operation;
use super::pipe::{Connection, Shape, create};
use super::security::Security;
use super::{Dir, DirError};

/// A named pipe.
pub struct Listener {
    path: PathBuf,
    shape: Shape,
    security: Security,
    /// Those without a client, the oldest first.
    waiting: VecDeque<Instance>,
}

/// An instance that waits for its client.
struct Instance {
    connection: Connection,
    connecting: Operation,
}

impl Listener {
    /// What `status` calls those who connect.
    pub const KIND: &str = "pipe";

    /// The pipe's name for a line such as `ep_81`.
    pub fn name_for(line: &str) -> String {
        line.to_owned()
    }

    /// Makes the pipe `name` of `dir`.
    ///
    /// # Errors
    /// [`DirError`] when another program has a pipe of this name, or none can be made.
    pub fn bind(dir: &Dir, name: &str, shape: Shape, security: Security) -> Result<Self, DirError> {
        let path = dir.path().join(name);
        let mut listener = Self { path, shape, security, waiting: VecDeque::new() };
        for at in 0..SPARE {
            let made = listener.instance(at == 0);
            let made = made.map_err(|e| refusal(&listener.path, e))?;
            listener.waiting.push_back(made);
        }
        Ok(listener)
    }

    /// The next connection. Cancel safe.
    ///
    /// # Errors
    /// When no further instance can be made.
    pub async fn accept(&mut self) -> io::Result<Connection> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        while self.waiting.len() < SPARE {
            let made = self.instance(false)?;
            self.waiting.push_back(made);
        }
        loop {
            let ended = self.waiting.iter().enumerate().find_map(|(at, instance)| {
                match instance.connecting.poll(cx, |_, _| ()) {
                    Poll::Ready(result) => Some((at, result)),
                    Poll::Pending => None,
                }
            });
            let Some((at, result)) = ended else { return Poll::Pending };
            let fresh = self.instance(false);
            let Some(taken) = self.waiting.remove(at) else { continue };
            self.waiting.push_back(fresh?);
            match result {
                Ok(()) => return Poll::Ready(Ok(taken.connection.clone())),
                // Its client has come and gone.
                Err(e) if e.raw_os_error() == Some(ERROR_NO_DATA.cast_signed()) => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }

    /// A connection that waits is never refused for lack of anything.
    pub fn turn_away(&mut self) -> bool {
        false
    }

    fn instance(&self, first: bool) -> io::Result<Instance> {
        let connection = create(&self.path, self.shape, &self.security, first)?;
        let connecting = Operation::new(&connection.handle);
        connecting.connect();
        Ok(Instance { connection, connecting })
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.connecting.cancel();
    }
}

/// Whether a connection cannot be taken because the system has run out of something.
pub fn is_exhausted(_error: &io::Error) -> bool {
    false
}

fn refusal(path: &Path, error: io::Error) -> DirError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::AlreadyExists => {
            let text = "cannot be made: another program has a pipe of this name; end it, or choose another --dir";
            DirError::from_io(path, text, error)
        }
        _ => DirError::from_io(path, "cannot make the pipe", error),
    }
}

/// Instances without a client, at any time.
const SPARE: usize = 4;
