//! A COM port that is open. None is opened yet.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::settings::Settings;
use crate::usb::TransferError;

/// An open port.
pub(super) enum Opened {}

impl Opened {
    pub(super) fn new(_port: Arc<File>, settings: Settings) -> io::Result<Self> {
        match settings {}
    }

    pub(super) fn poll_read(&self, _cx: &mut Context<'_>, _buffer: &mut [u8]) -> Poll<Result<usize, TransferError>> {
        match *self {}
    }

    pub(super) fn poll_write(&self, _cx: &mut Context<'_>, _bytes: &[u8]) -> Poll<Result<usize, TransferError>> {
        match *self {}
    }

    pub(super) async fn on_settings<T: Send + 'static>(
        &self,
        _timeout: Duration,
        _work: impl FnOnce(&mut Settings) -> Result<T, TransferError> + Send + 'static,
    ) -> Result<T, TransferError> {
        match *self {}
    }

    pub(super) async fn gone(&self) {
        match *self {}
    }

    pub(super) fn end_break_now(&self) {
        match *self {}
    }

    pub(super) async fn finish(&self, _patience: Duration) -> usize {
        match *self {}
    }
}
