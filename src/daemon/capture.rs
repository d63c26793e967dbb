//! A connection of `admin.sock` that a capture goes into. It keeps nothing: what waits is in the capture's spool.

use tokio::io::AsyncWriteExt;

use super::link::{ReadHalf, WriteHalf};
use super::protocol::Reply;
use super::{Devices, admin};
use crate::capture::Capture;
use crate::session::{TextLine, TextReader};

/// Begins a capture of the device of this name, or says why that cannot be.
pub(super) fn begin(devices: &Devices, device: &str, limit: u32) -> Result<Capture, String> {
    let capture = devices.with(device, |d| d.capture(limit))?;
    capture.map_err(|refused| format!("{device} cannot be captured: {refused}"))
}

/// The capture as it grows, until the client ends its side, which is answered by the rest and the end of the capture.
pub(super) async fn send(mut capture: Capture, mut lines: TextReader<ReadHalf>, mut out: WriteHalf) {
    if admin::send(&mut out, &Reply::Ok(Vec::new())).await.is_err() {
        return;
    }
    let mut bytes = Vec::new();
    loop {
        let next = tokio::select! {
            next = capture.next(&mut bytes) => next,
            line = lines.next() => match line {
                // What has two ends that cannot be closed one by one is ended by an empty line.
                Some(TextLine::Text(line)) if line.is_empty() => None,
                Some(_) => continue,
                None => None,
            },
        };
        let Some(next) = next else { break };
        bytes = next;
        if out.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // Whoever does not take it has gone.
    let _ = out.write_all(&capture.finish()).await;
}
