//! The control socket: faults as text lines.
//!
//! One job: one line in, one answer out, in order. It refuses to keep a line longer than [`LINE_LIMIT`].

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use super::hub::Hub;
use crate::fault::Command;

/// Serves one control client until it goes; a client that breaks off is no loss.
pub(super) async fn run<S: AsyncRead + AsyncWrite>(stream: S, hub: Arc<Hub>) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE_LIMIT).read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        if line.len() as u64 == LINE_LIMIT && line.last() != Some(&b'\n') {
            let _ = writer.write_all(b"error line too long\n").await;
            return;
        }
        let answer = match execute(&String::from_utf8_lossy(&line), &hub).await {
            Ok(()) => "ok\n".to_owned(),
            Err(error) => format!("error {error}\n"),
        };
        if writer.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn execute(line: &str, hub: &Hub) -> Result<(), String> {
    let command: Command = line.parse().map_err(|error: crate::fault::FaultError| error.to_string())?;
    hub.order(&command).await
}

/// Longer than any command.
const LINE_LIMIT: u64 = 1024;
