//! Hot path. The task that owns the socket to a USB/IP server: moves bytes between it and [`super::protocol`].
//!
//! ```text
//!           the socket is closed or fails, or the protocol ends the link
//!   open ───────────────────────────────────────────────────────────────► ended: all transfers come back, `gone` says why
//! ```
//!
//! A server that loses its client while it cancels something may not survive that, as the kernel's does not; so the socket is
//! closed when nothing is in flight any more.
//!
//! It retries nothing: whoever wants the device again opens a new link.

use std::future::poll_fn;
use std::io::{self, IoSlice, IoSliceMut, Read};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep, sleep_until};

use super::outbound::MAX_SLICES;
use super::protocol::{Command, OWN_END, Protocol};

/// One link.
pub(super) struct Link {
    stream: TcpStream,
    commands: mpsc::UnboundedReceiver<Command>,
    protocol: Protocol,
    /// Made when a time counts for the first time.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Link {
    pub(super) fn new(stream: TcpStream, devid: u32, commands: mpsc::UnboundedReceiver<Command>) -> Self {
        Self { stream, commands, protocol: Protocol::new(devid), alarm: None }
    }

    /// Runs until the link ends or nobody can command it any more; says why through `gone`.
    pub(super) async fn run(mut self, gone: watch::Sender<Option<String>>) {
        let reason = poll_fn(|cx| self.poll(cx)).await;
        // What waits in the channel comes back when it is dropped, after what is older.
        self.protocol.disconnect();
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
        gone.send_replace(Some(reason));
    }

    /// Ready with the reason when the link has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        loop {
            while self.protocol.is_open()
                && let Poll::Ready(command) = self.commands.poll_recv(cx)
            {
                self.protocol.accept(command.unwrap_or(Command::End));
            }
            if let Poll::Ready(Err(reason)) = self.poll_write(cx) {
                return Poll::Ready(reason);
            }
            if self.protocol.close_if_done() {
                // One that is gone already has nothing to be told.
                let _ = SockRef::from(&self.stream).shutdown(Shutdown::Write);
            }
            match self.poll_read(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) if self.protocol.is_closed() => return Poll::Ready(OWN_END.into()),
                Poll::Ready(Err(reason)) => return Poll::Ready(reason),
                Poll::Pending => {
                    ready!(self.poll_alarm(cx));
                    if let Err(reason) = self.protocol.expire(Instant::now()) {
                        return Poll::Ready(reason);
                    }
                }
            }
        }
    }

    /// Ready when the protocol has something to do because of the time.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.protocol.deadline(Instant::now) else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() != deadline {
            alarm.as_mut().reset(deadline);
        }
        alarm.as_mut().poll(cx)
    }

    /// Writes until nothing is left that is due, or the socket is full.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        while self.protocol.is_due() {
            ready!(self.stream.poll_write_ready(cx)).map_err(|e| describe(&e))?;
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let n = self.protocol.slices(&mut slices);
            match self.stream.try_write_vectored(&slices[..n]) {
                Ok(n) => self.protocol.written(n)?,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(describe(&e))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// One read, and what follows from it.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        loop {
            ready!(self.stream.poll_read_ready(cx)).map_err(|e| describe(&e))?;
            let stream = &self.stream;
            match self.protocol.fill(|slices| read(stream, slices)) {
                Ok(0) => return Poll::Ready(Err("the server closed the connection".into())),
                Ok(_) => return Poll::Ready(self.protocol.process()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(describe(&e))),
            }
        }
    }
}

/// A read that leaves room has emptied the socket, so the next one waits for the reactor's word: no system call is
/// spent on being told that there is nothing.
fn read(stream: &TcpStream, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    let room: usize = slices.iter().map(|slice| slice.len()).sum();
    let mut last = None;
    let result = stream.try_io(Interest::READABLE, || match (&*SockRef::from(stream)).read_vectored(slices)? {
        n if 0 < n && n < room => {
            last = Some(n);
            Err(io::ErrorKind::WouldBlock.into())
        }
        n => Ok(n),
    });
    last.map_or(result, Ok)
}

fn describe(error: &io::Error) -> String {
    format!("the connection failed: {error}")
}
