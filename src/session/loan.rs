//! Whether a device is lent to another program, and to which. It knows no device: the keeper lets go and takes back.
//!
//! ```text
//!              lend                     the keeper has let go
//!   at home ─────────► asked for back ───────────────────────► lent ("free")
//!     ▲                                                          │
//!     └── take back: by whoever borrowed it, or by a person ─────┘
//! ```

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// The loan of one device.
pub(super) struct Loan {
    borrower: watch::Sender<Option<Borrower>>,
    /// Whether the keeper holds nothing of the device, and waits.
    free: watch::Sender<bool>,
    /// The port that stands for the borrower where the kernel has none.
    port: watch::Sender<Option<PathBuf>>,
    numbers: AtomicU64,
}

/// Who has the device.
#[derive(Debug, Clone)]
struct Borrower {
    number: u64,
    name: String,
    wants_port: bool,
}

impl Default for Loan {
    fn default() -> Self {
        Self {
            borrower: watch::Sender::new(None),
            free: watch::Sender::new(false),
            port: watch::Sender::new(None),
            numbers: AtomicU64::default(),
        }
    }
}

impl Loan {
    /// Lends the device, with a port of its own or without, and gives the number of this loan.
    ///
    /// # Errors
    /// The name of who has it already.
    pub(super) fn lend(&self, name: &str, wants_port: bool) -> Result<u64, String> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut refused = None;
        self.borrower.send_if_modified(|borrower| {
            refused = borrower.as_ref().map(|known| known.name.clone());
            if refused.is_none() {
                *borrower = Some(Borrower { number, name: name.to_owned(), wants_port });
            }
            refused.is_none()
        });
        refused.map_or(Ok(number), Err)
    }

    /// Ends the loan with this number, or whichever there is; gives the name of who had the device.
    pub(super) fn take_back(&self, number: Option<u64>) -> Option<String> {
        let mut had = None;
        self.borrower.send_if_modified(|borrower| {
            let ends = borrower.as_ref().is_some_and(|known| number.is_none_or(|number| number == known.number));
            had = ends.then(|| borrower.take()).flatten();
            ends
        });
        had.map(|borrower| borrower.name)
    }

    /// Who has the device.
    pub(super) fn borrower(&self) -> Option<String> {
        self.borrower.borrow().as_ref().map(|borrower| borrower.name.clone())
    }

    /// Resolves when somebody wants the device, at once if somebody does.
    pub(super) async fn is_wanted(&self) {
        let _ = self.borrower.subscribe().wait_for(Option::is_some).await;
    }

    /// Whether somebody has the device who needs a port of it.
    pub(super) fn wants_port(&self) -> bool {
        self.borrower.borrow().as_ref().is_some_and(|borrower| borrower.wants_port)
    }

    /// The port that stands for the borrower, or that none does any more.
    pub(super) fn set_port(&self, port: Option<PathBuf>) {
        self.port.send_replace(port);
    }

    /// The port for the borrower, as soon as it stands.
    pub(super) async fn port(&self) -> Option<PathBuf> {
        self.port.subscribe().wait_for(Option::is_some).await.ok()?.clone()
    }

    /// For the keeper when it holds nothing: resolves when nobody has the device.
    pub(super) async fn is_returned(&self) {
        let mut borrower = self.borrower.subscribe();
        if borrower.borrow_and_update().is_some() {
            self.free.send_replace(true);
            let _ = borrower.wait_for(Option::is_none).await;
        }
        self.free.send_replace(false);
    }

    /// The keeper has ended and holds nothing any more.
    pub(super) fn set_free(&self) {
        self.free.send_replace(true);
    }

    /// Resolves when the keeper has let go.
    pub(super) async fn is_free(&self) {
        let _ = self.free.subscribe().wait_for(|free| *free).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_has_it_and_only_its_own_loan_ends() {
        let loan = Loan::default();
        let first = loan.lend("avrdude", false).unwrap();
        assert_eq!(loan.lend("esptool", false), Err("avrdude".to_owned()));
        assert_eq!(loan.take_back(None).as_deref(), Some("avrdude"));
        let second = loan.lend("esptool", false).unwrap();
        assert_eq!(loan.take_back(Some(first)), None, "it was taken back before");
        assert_eq!(loan.borrower().as_deref(), Some("esptool"));
        assert_eq!(loan.take_back(Some(second)).as_deref(), Some("esptool"));
    }
}
