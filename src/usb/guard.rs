//! Tasks that must not end unnoticed: a panic, most likely of a dependency, becomes an error that can be reported.
//!
//! It repairs nothing.

use std::any::Any;
use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// Runs a task to its end.
///
/// # Errors
/// What it panicked with, in words for people.
pub async fn caught<T>(task: impl Future<Output = T>) -> Result<T, String> {
    let mut task = pin!(task);
    poll_fn(|cx| {
        let _entered = Entered(ENTERED.replace(true));
        // What the task had is dropped with it; nothing of it is looked at again.
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(format!("internal error: {}", message(&*panic)))),
        }
    })
    .await
}

/// Whether this thread runs such a task at the moment, so that a panic is caught.
pub(super) fn is_caught() -> bool {
    ENTERED.get()
}

/// What was given to `panic!`.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked without a message")
}

thread_local! {
    static ENTERED: Cell<bool> = const { Cell::new(false) };
}

/// Puts back what was so before.
struct Entered(bool);

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_message() {
        let zero = std::hint::black_box(0);
        let result = caught(async { 512 % zero }).await;
        assert!(result.is_err_and(|text| text.starts_with("internal error: attempt to calculate the remainder")));
        assert_eq!(caught(async { is_caught() }).await, Ok(true));
        assert!(!is_caught());
    }
}
