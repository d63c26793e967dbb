//! Hot path. One imported device and its connection.
//!
//! One job: read requests, let the port answer them, write the answers, each with as few system calls as can be.
//! It refuses to tick: with nothing to read, to write or due, it sleeps.
//!
//! ```text
//!  imported ──▶ serving ──peer closes, error, violation──▶ over
//!                  └──unplug, cut, the device leaves (generation changes)──▶ over, then the command is answered
//! ```

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::time::Instant;

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::hub::{Lease, Order};
use super::inbox::{Inbox, Request, Violation};
use super::latency::{DelayedReader, DelayedWriter, Latency};
use crate::outbox::Outbox;
use crate::port::{Port, TooMuch};

/// Why a session is over.
#[derive(Debug)]
pub(super) enum End {
    /// The client closed the connection.
    Closed,
    /// The device left, or the link was cut.
    Left,
    /// The connection failed.
    Io(io::Error),
    /// The client sent what no client may send.
    Violation(Violation),
    /// The client named another device than the one it imported.
    Device(u32),
    /// The client queued more than a port can hold.
    TooMuch,
}

/// Serves the leased device until the session is over.
pub(super) async fn run(mut stream: TcpStream, mut lease: Lease, latency: Latency) -> End {
    let mut last = None;
    let devid = lease.record.devid();
    let (port, orders) = lease.parts();
    let end = serve(&mut stream, latency, port, orders, devid, &mut last).await;
    drop(stream);
    drop(lease);
    // The command that ended the session is done only now: the port is back in its slot.
    if let Some(Order { answer, .. }) = last {
        let _ = answer.send(Ok(()));
    }
    end
}

async fn serve(
    stream: &mut TcpStream,
    latency: Latency,
    port: &mut Port,
    orders: &mut mpsc::Receiver<Order>,
    devid: u32,
    last: &mut Option<Order>,
) -> End {
    let generation = port.generation();
    let (reader, writer) = stream.split();
    let (mut reader, mut writer) = (DelayedReader::new(reader, latency.clone()), DelayedWriter::new(writer, latency));
    let (mut inbox, mut out) = (Inbox::new(), Outbox::default());
    let mut alarm = pin!(tokio::time::sleep(std::time::Duration::ZERO));
    port.take_lies().into_iter().for_each(|lie| out.lie(lie));
    loop {
        let now = Instant::now();
        if let Err(end) = requests(&mut inbox, port, devid, now, &mut out) {
            return end;
        }
        port.service(now, &mut out);
        if port.generation() != generation {
            return leave(&mut writer).await;
        }
        let due = set(alarm.as_mut(), port.deadline(now));
        tokio::select! {
            biased;
            Some(order) = orders.recv() => {
                let result = port.apply(order.fault, Instant::now(), Some(&mut out));
                if port.generation() != generation {
                    *last = Some(order);
                    return leave(&mut writer).await;
                }
                let _ = order.answer.send(result);
            }
            written = write(&mut writer, &out), if out.backlog() > 0 || writer.is_busy() => match written {
                Ok(count) => out.written(count),
                Err(error) => return End::Io(error),
            },
            read = reader.read(inbox.space()), if out.backlog() < BACKLOG => match read {
                Ok(0) => return End::Closed,
                Ok(count) => inbox.filled(count),
                Err(error) => return End::Io(error),
            },
            () = &mut alarm, if due => {}
        }
    }
}

/// Hands the whole requests in the inbox to the port, as long as the answers do not pile up.
fn requests(inbox: &mut Inbox, port: &mut Port, devid: u32, now: Instant, out: &mut Outbox) -> Result<(), End> {
    while out.backlog() < BACKLOG
        && let Some(request) = inbox.next().map_err(End::Violation)?
    {
        match request {
            Request::Submit(submit, ..) if submit.devid != devid => return Err(End::Device(submit.devid)),
            Request::Submit(submit, data, packets) => {
                port.submit(&submit, data, packets, now, out).map_err(|TooMuch| End::TooMuch)?;
            }
            Request::Unlink { devid: named, .. } if named != devid => return Err(End::Device(named)),
            Request::Unlink { seqnum, victim, .. } => port.unlink(seqnum, victim, now, out),
        }
    }
    Ok(())
}

/// Sets the alarm if its time has changed; false when there is none.
fn set(alarm: Pin<&mut Sleep>, deadline: Option<Instant>) -> bool {
    let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else { return false };
    if alarm.deadline() != deadline {
        alarm.reset(deadline);
    }
    true
}

async fn write<W: AsyncWrite + Unpin>(writer: &mut DelayedWriter<W>, out: &Outbox) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); SLICES];
    let filled = out.slices(&mut slices);
    writer.write(&slices[..filled]).await
}

/// The device has left; what it had replied before still arrives.
async fn leave<W: AsyncWrite + Unpin>(writer: &mut DelayedWriter<W>) -> End {
    writer.finish().await.map_or_else(End::Io, |()| End::Left)
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("closed by the client"),
            Self::Left => f.write_str("the device left"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Violation(violation) => write!(f, "the client broke the protocol: {violation}"),
            Self::Device(devid) => write!(f, "the client named device {devid:#x}, which it did not import"),
            Self::TooMuch => f.write_str("the client queued more transfers than a port can hold"),
        }
    }
}

/// Requests wait while this many bytes of answers do.
const BACKLOG: usize = 4 << 20;
/// Pieces in one write.
const SLICES: usize = 64;
