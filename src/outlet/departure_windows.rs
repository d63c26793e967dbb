//! Whether the program at the other end of a pipe has gone: Windows does not report it while nothing is read or written.

/// Watches nothing.
#[derive(Debug)]
pub struct Departure;

impl Departure {
    /// Of nobody in particular, who never goes.
    pub fn never() -> Self {
        Self
    }

    /// Never resolves.
    pub async fn gone(&self) {
        std::future::pending().await
    }
}
