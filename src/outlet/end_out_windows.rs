//! Hot path. A named pipe that a program writes at its other end.
//!
//! Nothing is read before somebody asks, so that a program whose device takes nothing is held up by its pipe.

use std::io;
use std::ptr::null_mut;
use std::task::{Context, Poll, ready};

use windows_sys::Win32::System::Pipes::PeekNamedPipe;

use super::overlapped::{Operation, Outcome};
use super::pipe::Connection;
use super::{Message, Source};

/// The daemon's end of a pipe that one program writes.
pub struct OutEnd {
    connection: Connection,
    reading: Operation,
    /// What was read and not asked for: somebody asked for more, and then for less.
    rest: Vec<u8>,
    /// The rest of a message that is too long is still to come.
    skipping: bool,
}

impl OutEnd {
    /// Takes over a connected pipe.
    ///
    /// # Errors
    /// None; elsewhere not every end is fit for this.
    pub fn new(connection: Connection) -> io::Result<Self> {
        let reading = Operation::new(&connection.handle);
        Ok(Self { connection, reading, rest: Vec::new(), skipping: false })
    }

    /// What was read; the end of the pipe is none.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Option<Outcome>> {
        if self.reading.is_idle() {
            self.reading.read(buffer.len());
        }
        let rest = &mut self.rest;
        let received = self.reading.poll(cx, |outcome, bytes| {
            let (now, later) = bytes.split_at(bytes.len().min(buffer.len()));
            buffer[..now.len()].copy_from_slice(now);
            rest.extend_from_slice(later);
            outcome
        });
        // There is no other reason for a failure than that the program has gone.
        Poll::Ready(ready!(received).ok())
    }

    fn take_rest(&mut self, buffer: &mut [u8]) -> usize {
        let n = self.rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.rest[..n]);
        self.rest.drain(..n);
        n
    }

    fn waits_in_pipe(&self) -> usize {
        let mut waiting = 0;
        let nothing = null_mut();
        // SAFETY: the handle is open, and the place for the number outlives the call.
        let asked =
            unsafe { PeekNamedPipe(self.connection.handle.raw(), nothing, 0, null_mut(), &mut waiting, null_mut()) };
        if asked == 0 { 0 } else { waiting as usize }
    }
}

impl Source for OutEnd {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            if !self.rest.is_empty() {
                return Poll::Ready(Ok(self.take_rest(buffer)));
            }
            match ready!(self.poll_receive(cx, buffer)) {
                // Somebody wrote nothing.
                Some(Outcome::Moved(0) | Outcome::More(0)) => {}
                Some(Outcome::Moved(n) | Outcome::More(n)) => return Poll::Ready(Ok(n.min(buffer.len()))),
                None => return Poll::Ready(Ok(0)),
            }
        }
    }

    fn poll_message(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<Message>> {
        if !self.connection.messages {
            return self.poll_read(cx, buffer).map_ok(|n| if n == 0 { Message::End } else { Message::Of(n) });
        }
        loop {
            match ready!(self.poll_receive(cx, buffer)) {
                None => return Poll::Ready(Ok(Message::End)),
                Some(Outcome::More(_)) => self.skipping = true,
                Some(Outcome::Moved(n)) => {
                    let is_cut = !std::mem::take(&mut self.rest).is_empty();
                    let is_too_long = std::mem::take(&mut self.skipping) || is_cut;
                    return Poll::Ready(Ok(if is_too_long { Message::TooLong } else { Message::Of(n) }));
                }
            }
        }
    }

    fn keeps_messages(&self) -> bool {
        self.connection.messages
    }

    fn waiting(&self) -> usize {
        if self.connection.messages { 0 } else { self.rest.len() + self.waits_in_pipe() }
    }
}

impl Drop for OutEnd {
    fn drop(&mut self) {
        self.reading.cancel();
    }
}
