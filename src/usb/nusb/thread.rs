//! The thread of nusb on which transfers of all its devices end: once it has panicked, none of them ever does again.
//!
//! A hook sees the panic, because nobody waits for that thread. It starts nothing anew; nusb cannot.

use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use tokio::sync::watch;

use crate::usb::guard::is_caught;

/// Notices from now on when that thread panics. Once in a process.
pub fn watch_thread() {
    let print = take_hook();
    set_hook(Box::new(move |panic| {
        print(panic);
        ENDED.panicked(thread::current().name(), panic);
        HAS_ENDED.store(end().is_some(), Relaxed);
    }));
}

/// Resolves when the thread has panicked, with the reason in words for people.
pub(super) async fn ended() -> String {
    ENDED.ended().await
}

/// Whether it has panicked, so that no transfer ends by itself any more; at the cost of a look at a flag.
pub(super) fn has_ended() -> bool {
    HAS_ENDED.load(Relaxed)
}

/// The reason, if it has panicked.
pub(super) fn end() -> Option<String> {
    ENDED.0.borrow().clone()
}

struct Ended(watch::Sender<Option<String>>);

impl Ended {
    fn panicked(&self, thread: Option<&str>, panic: &PanicHookInfo<'_>) {
        // A task of the daemon that panics there is caught, and the thread goes on.
        if thread == Some(THREAD) && !is_caught() {
            let payload = panic.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
            self.0.send_replace(Some(format!(
                "nusb can reach no device any more, by an internal error of it ({text}); restart usbpipe and report it, \
                 or write backend = \"libusb\""
            )));
        }
    }

    async fn ended(&self) -> String {
        // The sending end is here, so that it cannot fail.
        let mut ended = self.0.subscribe();
        let reason = ended.wait_for(Option::is_some).await;
        reason.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }
}

static ENDED: LazyLock<Ended> = LazyLock::new(|| Ended(watch::Sender::new(None)));
static HAS_ENDED: AtomicBool = AtomicBool::new(false);
/// As nusb calls it.
const THREAD: &str = "nusb-events";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn the_panic_of_nusbs_thread_is_noticed_and_no_other() {
        let seen = Arc::new(Ended(watch::Sender::new(None)));
        let (hook, lock) = (seen.clone(), Mutex::new(()));
        let print = take_hook();
        set_hook(Box::new(move |panic| {
            let _one = lock.lock();
            hook.panicked(thread::current().name(), panic);
        }));
        let panics = |name: &str| {
            let died = thread::Builder::new().name(name.to_owned()).spawn(|| panic!("out of order")).map(|t| t.join());
            assert!(died.is_ok_and(|end| end.is_err()));
        };
        panics("another");
        assert_eq!(*seen.0.borrow(), None);
        panics(THREAD);
        set_hook(print);
        assert!(seen.ended().await.contains("(out of order)"));
    }
}
