//! Work on a port's settings that may wait for the device: one at a time, on a helper thread, and not for ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::settings::Settings;
use crate::usb::TransferError;

/// What `work` says.
///
/// # Errors
/// Those of `work`; [`TransferError::Timeout`] when it takes longer, in which case it may still be done later.
pub(super) async fn on_settings<T: Send + 'static>(
    settings: Arc<Mutex<Settings>>,
    timeout: Duration,
    work: impl FnOnce(&mut Settings) -> Result<T, TransferError> + Send + 'static,
) -> Result<T, TransferError> {
    let done = async {
        let mut settings = settings.lock_owned().await;
        tokio::task::spawn_blocking(move || work(&mut settings)).await
    };
    match tokio::time::timeout(timeout, done).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panicked)) => Err(TransferError::Invalid),
        Err(_elapsed) => Err(TransferError::Timeout),
    }
}
