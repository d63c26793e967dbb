//! What signals ask of a daemon. A task of their own listens for them, so that they are heard whatever the daemon does at
//! the moment; what was asked for meanwhile is remembered.
//!
//! ```text
//!   signals ──► task ──► reload ──► the daemon, as soon as it has finished the last one
//!                  ├───► end ─────► the daemon, at once; a thread ends the process if it takes too long
//!                  └───► end again: the process ends at once
//! ```

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::signals::{Received, Signals};
use super::{FAILED, Failure, Outcome};
use crate::daemon::{Daemon, END_LIMIT};
use crate::log_writer;

/// What was asked of this process so far.
pub(super) struct Lifetime {
    /// How often it was asked to end.
    ends: watch::Receiver<u32>,
    /// Stores one request.
    reload: Arc<Notify>,
    /// The longest `flush` of any pipe, in milliseconds.
    flush: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Lifetime {
    /// Listens from now on.
    pub(super) fn listen(signals: Signals) -> Self {
        let (asked, ends) = watch::channel(0);
        let (reload, flush) = (Arc::<Notify>::default(), Arc::<AtomicU64>::default());
        let task = tokio::spawn(hear(signals, asked, reload.clone(), flush.clone()));
        Self { ends, reload, flush, task }
    }

    /// An end may take so much longer because programs have written what a device has not taken yet.
    pub(super) fn set_flush(&self, flush: Duration) {
        self.flush.store(u64::try_from(flush.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits until this process shall end. Cancel safe.
    pub(super) async fn end(&self) {
        // The sender lives as long as the task, which never ends by itself.
        let _ = self.ends.clone().wait_for(|ends| *ends > 0).await;
    }

    /// Waits until the configuration shall be read again: once for all requests since the last time. Cancel safe.
    pub(super) async fn reload(&self) {
        self.reload.notified().await;
    }

    /// Ends the daemon in order; a second signal ends at once.
    pub(super) async fn finish(mut self, daemon: Daemon) -> Outcome {
        let outcome = tokio::select! {
            () = daemon.end() => Ok(0),
            _ = self.ends.wait_for(|ends| *ends > 1) => Err(Failure::run_time(AT_ONCE)),
        };
        self.task.abort();
        outcome
    }
}

async fn hear(mut signals: Signals, asked: watch::Sender<u32>, reload: Arc<Notify>, flush: Arc<AtomicU64>) {
    loop {
        match signals.next().await {
            Received::Reload => reload.notify_one(),
            Received::End => {
                asked.send_modify(|ends| *ends += 1);
                if *asked.borrow() == 1 {
                    let flush = Duration::from_millis(flush.load(Ordering::Relaxed));
                    end_after(flush.saturating_add(END_LIMIT), "it did not end in time; outlets may be left behind");
                } else {
                    end_after(AT_ONCE_LIMIT, AT_ONCE);
                }
            }
        }
    }
}

/// Ends the process after this time, unless it has ended by then. On a thread, which nothing in the daemon can hold up.
fn end_after(limit: Duration, why: &'static str) {
    let deadline = thread::Builder::new().name("deadline".to_owned()).spawn(move || {
        thread::sleep(limit);
        log_writer::print(format_args!("usbpipe: {why}"));
        log_writer::flush();
        process::exit(FAILED.into());
    });
    if let Err(e) = deadline {
        tracing::warn!("no thread could be started that limits how long the end takes: {e}");
    }
}

const AT_ONCE: &str = "ended at once by a second signal; outlets may be left behind";
/// How long the end at once may take.
const AT_ONCE_LIMIT: Duration = Duration::from_millis(500);
