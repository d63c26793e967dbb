//! Where the log and all that a command prints on stderr go: a bounded queue, which a thread of its own empties. It never
//! blocks who writes to it, and never fails: a line for which there is no room, or which cannot be written, is dropped and
//! counted, and the count follows as a line of its own once something can be written again.
//!
//! ```text
//!   tracing, print() ──► queue (at most QUEUED bytes) ──► thread ──► stderr or a file, which may block it
//! ```
//!
//! The thread exists only while there are lines, so that an idle daemon is one thread. (`tracing-appender` keeps one for
//! good, limits the number of lines rather than their bytes, and does not report what it dropped.)

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, Write};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Prints one line on stderr, or wherever the log goes.
pub fn print(text: impl Display) {
    STDERR.push(format!("{text}\n").into_bytes());
}

/// A writer for `tracing`: each write is one line.
pub fn lines() -> impl Write {
    Lines
}

/// Has everything go there from now on.
pub fn redirect(sink: Box<dyn Write + Send>) {
    STDERR.lock().sink = Some(sink);
}

/// Lines that were dropped so far.
pub fn dropped() -> u64 {
    STDERR.lock().dropped
}

/// Waits until everything has been written, for as long as that goes on and at most a second.
pub fn flush() {
    STDERR.flush(LAST_LINES);
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDERR.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    dropped: u64,
    /// Of those, how many a line in the log has reported.
    reported: u64,
    /// Whether there is a thread.
    has_thread: bool,
    /// Where lines go; `None` while the thread has it, and for stderr.
    sink: Option<Box<dyn Write + Send>>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&'static self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.bytes + line.len() > QUEUED {
            state.dropped += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        if !state.has_thread {
            let started = thread::Builder::new().name("log".to_owned()).spawn(move || self.write());
            state.has_thread = started.is_ok();
            // Without a thread the lines wait for one that can be started.
        }
        self.changed.notify_all();
    }

    /// Writes until nothing has come for a while.
    fn write(&self) {
        let mut state = self.lock();
        let mut sink = state.sink.take().unwrap_or_else(|| Box::new(io::stderr()));
        loop {
            if let Some(line) = state.lines.front().cloned() {
                // The line stays in the queue meanwhile, so that `flush` waits for it.
                drop(state);
                let written = sink.write_all(&line).and_then(|()| sink.flush());
                state = self.lock();
                state.written(&line, written.is_ok());
                self.changed.notify_all();
                continue;
            }
            let (waited, waiting) =
                self.changed.wait_timeout(state, KEEP_ALIVE).unwrap_or_else(PoisonError::into_inner);
            state = waited;
            if let Some(other) = state.sink.take() {
                sink = other;
            }
            if waiting.timed_out() && state.lines.is_empty() {
                state.has_thread = false;
                state.sink = Some(sink);
                return;
            }
        }
    }

    fn flush(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        while state.has_thread && !state.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            (state, _) = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// The first line has been written, or could not be.
    fn written(&mut self, line: &[u8], is_written: bool) {
        self.lines.pop_front();
        self.bytes -= line.len();
        if !is_written {
            self.dropped += 1;
        } else if self.dropped > self.reported {
            let count = self.dropped - self.reported;
            self.reported = self.dropped;
            let text =
                format!("usbpipe: {count} lines of the log were dropped, because they could not be written in time\n");
            self.bytes += text.len();
            self.lines.push_front(text.into_bytes());
        }
    }
}

static STDERR: LazyLock<Queue> = LazyLock::new(|| Queue { state: Mutex::default(), changed: Condvar::new() });

/// Bytes that wait to be written.
const QUEUED: usize = 256 * 1024;
/// The thread goes when it had nothing to do for so long.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// How long the end of the program waits for what has been printed.
const LAST_LINES: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Takes a line each time that it is allowed to, or fails if the disk is full.
    struct Slow {
        allowed: Receiver<()>,
        written: Sender<String>,
        is_full: Arc<AtomicBool>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            if self.is_full.load(SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let _ = self.written.send(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_room_are_dropped_and_counted_and_the_count_is_reported_once_there_is_room() {
        let queue: &'static Queue = Box::leak(Box::new(Queue { state: Mutex::default(), changed: Condvar::new() }));
        let ((allow, allowed), (written, lines), is_full) = (channel(), channel(), Arc::<AtomicBool>::default());
        queue.lock().sink = Some(Box::new(Slow { allowed, written, is_full: is_full.clone() }));
        let line = |n: usize| format!("{n:0>1000}\n").into_bytes();
        let room = QUEUED / line(0).len();
        (0..room + 7).for_each(|n| queue.push(line(n)));
        assert_eq!(queue.lock().dropped, 7);
        queue.flush(Duration::ZERO);
        (0..=room).for_each(|_| allow.send(()).unwrap());
        let next = || lines.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(next().ends_with("000\n"));
        assert_eq!(next(), "usbpipe: 7 lines of the log were dropped, because they could not be written in time\n");
        (1..room).for_each(|_| assert!(next().starts_with("000")));
        queue.flush(Duration::from_secs(60));

        is_full.store(true, SeqCst);
        queue.push(line(1));
        allow.send(()).unwrap();
        queue.flush(Duration::from_secs(60));
        assert_eq!(queue.lock().dropped, 8);
        is_full.store(false, SeqCst);
        queue.push(line(2));
        (0..2).for_each(|_| allow.send(()).unwrap());
        assert!(next().ends_with("2\n"));
        assert!(next().starts_with("usbpipe: 1 lines of the log"));
    }
}
