//! Hot path. Reads from a pipe or a stream socket, without a second read that only finds it empty.
//!
//! A read that leaves room in its buffer has emptied a pipe, so the next one waits for the reactor. A program that writes
//! in packet mode (pipe(2), `O_DIRECT`) is the exception, and only that program can see its mode: each read then ends with
//! one packet, and another may be behind it, of which the reactor reports nothing. So a second read is made at least once
//! in [`PERIOD`], and after each short read where one found something of late.
//!
//! ```text
//!             short read, seen empty of late            PERIOD is over
//!   nothing ──────────────────────────────────► later ────────────────► now
//!      ▲  └──────────────────── short read, otherwise ──────────────────► │
//!      └───────────────────────── a read finds it empty ◄─────────────────┘
//! ```
//!
//! It refuses to buffer: bytes go from the kernel to the caller.

use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;

use super::alarm_linux::Alarm;

/// Reads one descriptor.
#[derive(Debug, Default)]
pub(crate) struct ShortReads {
    second: Second,
    /// When a read last found nothing.
    seen_empty: Option<Instant>,
    /// How many short reads are still followed by a second one at once.
    careful: u32,
    /// Fires when `second` has been `Later` for long enough; kept for the next time.
    alarm: Option<Alarm>,
    is_alarm_set: bool,
}

/// Whether to read once more although the reactor reports nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Second {
    #[default]
    No,
    Later,
    Now,
}

impl ShortReads {
    /// Lets `read` read what is there into `buffer`, which must not be empty; 0 bytes are the end.
    ///
    /// # Errors
    /// Those of `read`. `WouldBlock` when the reactor reports a hang-up that is no longer so: it does that for as long as
    /// the descriptor is registered.
    pub(crate) fn poll_read<T: AsRawFd>(
        &mut self,
        cx: &mut Context<'_>,
        fd: &AsyncFd<T>,
        buffer: &mut [u8],
        read: impl Fn(&T, &mut [u8]) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = match fd.poll_read_ready(cx)? {
                Poll::Ready(ready) => Some(ready),
                Poll::Pending if self.poll_second(cx).is_ready() => None,
                Poll::Pending => return Poll::Pending,
            };
            let result = read(fd.get_ref(), buffer);
            let is_reported = ready.is_some();
            let is_hung_up = ready.as_ref().is_some_and(|ready| ready.ready().is_read_closed());
            let has_left_room = match &result {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => e.kind() == io::ErrorKind::WouldBlock,
                Ok(n) => (1..buffer.len()).contains(n),
            };
            if let Some(ready) = ready.as_mut().filter(|_| has_left_room) {
                ready.clear_ready();
            }
            match result {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.is_empty();
                    if is_hung_up {
                        return Poll::Ready(Err(e));
                    }
                }
                Ok(n) if n > 0 => {
                    self.got(is_reported, has_left_room);
                    return Poll::Ready(Ok(n));
                }
                result => return Poll::Ready(result),
            }
        }
    }

    fn is_empty(&mut self) {
        self.second = Second::No;
        self.seen_empty = Some(Instant::now());
        self.careful = self.careful.saturating_sub(1);
    }

    fn got(&mut self, is_reported: bool, has_left_room: bool) {
        if !is_reported {
            // Later it may as well be what the reactor is about to report.
            let careful = if self.second == Second::Now { LONG } else { 2 };
            self.careful = self.careful.max(careful);
        }
        self.second = match has_left_room {
            true if self.careful == 0 => self.after_short_read(Instant::now()),
            false if is_reported => Second::No,
            _ => Second::Now,
        };
    }

    fn after_short_read(&mut self, now: Instant) -> Second {
        let since = self.seen_empty.map_or(PERIOD, |then| now.saturating_duration_since(then));
        let left = PERIOD.saturating_sub(since);
        if left.is_zero() || !(self.is_alarm_set || self.set_alarm(left)) { Second::Now } else { Second::Later }
    }

    /// Says whether it could.
    fn set_alarm(&mut self, time: Duration) -> bool {
        if self.alarm.is_none() {
            self.alarm = Alarm::new().ok();
        }
        self.is_alarm_set = self.alarm.as_ref().is_some_and(|alarm| alarm.set(time).is_ok());
        self.is_alarm_set
    }

    fn poll_second(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match (self.second, &self.alarm) {
            (Second::Now, _) => Poll::Ready(()),
            (Second::Later, Some(alarm)) => alarm.poll_fired(cx).map(|()| self.is_alarm_set = false),
            _ => Poll::Pending,
        }
    }
}

/// How long what a packet hides may be overlooked: some hundred times as long as a read takes, and too short to be felt.
const PERIOD: Duration = Duration::from_millis(20);
/// So many short reads in a row with nothing behind them mean that there will be nothing behind the next one.
const LONG: u32 = 64;

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::os::fd::OwnedFd;

    use nix::fcntl::OFlag;
    use tokio::io::Interest;

    use super::*;

    /// A pipe with its read end in the reactor, and what reads it.
    struct Pipe {
        reads: ShortReads,
        read_end: AsyncFd<OwnedFd>,
        write_end: OwnedFd,
        /// Calls of read(2).
        calls: Cell<u32>,
    }

    impl Pipe {
        fn new(flags: OFlag) -> Self {
            let (read_end, write_end) = nix::unistd::pipe2(OFlag::O_NONBLOCK | flags).unwrap();
            // SAFETY: an `OwnedFd` owns its descriptor, and gives the same number for as long as it lives.
            let read_end = unsafe { AsyncFd::register_with_interest(read_end, Interest::READABLE) }.unwrap();
            Self { reads: ShortReads::default(), read_end, write_end, calls: Cell::new(0) }
        }

        fn write(&self, bytes: &[u8]) {
            assert_eq!(nix::unistd::write(&self.write_end, bytes).unwrap(), bytes.len());
        }

        fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
            let mut buffer = [0; 16];
            let calls = &self.calls;
            let read = |fd: &OwnedFd, buffer: &mut [u8]| {
                calls.set(calls.get() + 1);
                Ok(nix::unistd::read(fd, buffer)?)
            };
            let read = self.reads.poll_read(cx, &self.read_end, &mut buffer, read);
            read.map(|n| buffer[..n.unwrap()].to_vec())
        }

        async fn next(&mut self) -> Vec<u8> {
            poll_fn(|cx| self.poll(cx)).await
        }

        async fn is_idle(&mut self) -> bool {
            poll_fn(|cx| Poll::Ready(self.poll(cx).is_pending())).await
        }

        /// Has it see that nothing is behind a short read, just now.
        async fn converse(&mut self) {
            self.write(b"x");
            assert_eq!(self.next().await, b"x");
            assert!(self.is_idle().await);
        }
    }

    #[tokio::test]
    async fn a_read_that_leaves_room_is_the_only_one_but_for_one_now_and_then() {
        let mut pipe = Pipe::new(OFlag::empty());
        pipe.converse().await;
        let (before, start) = (pipe.calls.get(), Instant::now());
        for _ in 0..1000 {
            pipe.converse().await;
        }
        let periods = start.elapsed().div_duration_f64(PERIOD).ceil() as u32;
        let more = pipe.calls.get() - before - 1000;
        assert!(more <= 2 * periods, "{more} reads in vain in {periods} periods");
    }

    #[tokio::test]
    async fn a_read_that_fills_the_buffer_is_followed_by_another() {
        let mut pipe = Pipe::new(OFlag::empty());
        pipe.converse().await;
        pipe.write(&[7; 40]);
        for length in [16, 16, 8] {
            assert_eq!(pipe.next().await, vec![7; length]);
        }
        assert!(pipe.is_idle().await);
    }

    #[tokio::test]
    async fn packets_behind_a_packet_are_found_although_nothing_is_reported() {
        let mut pipe = Pipe::new(OFlag::O_DIRECT);
        pipe.converse().await;
        for packet in [b"one", b"two", b"six"] {
            pipe.write(packet);
        }
        for packet in [b"one", b"two", b"six"] {
            assert_eq!(pipe.next().await, packet);
        }
        // From now on at once, after one more that is late.
        pipe.converse().await;
        pipe.write(b"four");
        pipe.write(b"five");
        assert_eq!(pipe.next().await, b"four");
        assert_eq!(poll_fn(|cx| Poll::Ready(pipe.poll(cx))).await, Poll::Ready(b"five".to_vec()));
        // And not for ever.
        for _ in 0..LONG {
            pipe.converse().await;
        }
        assert_eq!(pipe.reads.careful, 0);
    }

    #[tokio::test]
    async fn the_end_is_reported_and_a_hang_up_that_is_over_is_an_error() {
        let mut pipe = Pipe::new(OFlag::empty());
        pipe.converse().await;
        pipe.write(b"last");
        let again = format!("/proc/self/fd/{}", pipe.read_end.as_raw_fd());
        pipe.write_end = std::fs::File::open("/dev/null").unwrap().into();
        assert_eq!(pipe.next().await, b"last");
        assert_eq!(pipe.next().await, b"");
        pipe.write_end = std::fs::OpenOptions::new().write(true).open(again).unwrap().into();
        let mut buffer = [0; 16];
        let read = |fd: &OwnedFd, buffer: &mut [u8]| Ok(nix::unistd::read(fd, buffer)?);
        let result = poll_fn(|cx| pipe.reads.poll_read(cx, &pipe.read_end, &mut buffer, read)).await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
