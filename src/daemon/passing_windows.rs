//! Connections that become a program's own stdin or stdout: Windows passes no handles over a pipe, so that the command
//! opens the admin pipe once more and asks for that connection to be the outlet's. Nothing but the asking goes over it
//! before.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use tokio::io::BufReader;

use super::link::{Stream, WriteHalf};
use super::protocol::Request;
use crate::session::PassedEnd;

/// Sends nothing.
///
/// # Errors
/// `Unsupported`, always.
pub(super) async fn send(_out: &WriteHalf, _line: &[u8], _end: &PassedEnd) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Asks for a connection. Gives the line that is the answer, and the connection.
pub(super) async fn open(
    _stream: &mut BufReader<Stream>,
    path: &Path,
    request: Request,
) -> io::Result<(Vec<u8>, Option<PassedEnd>)> {
    let Request::Open { device, outlet, program, pass: _ } = request else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut line = serde_json::to_vec(&Request::Open { device, outlet, program, pass: None })?;
    line.push(b'\n');
    let path = path.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        // Programs read and write their stdin and stdout one call at a time: the handle is one for that.
        let mut pipe = OpenOptions::new().read(true).write(true).open(path)?;
        pipe.write_all(&line)?;
        Ok((answer(&mut pipe)?, Some(pipe)))
    });
    asked.await?
}

/// Byte by byte, because what follows is the program's.
fn answer(pipe: &mut File) -> io::Result<Vec<u8>> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.last() != Some(&b'\n') {
        pipe.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(line)
}
