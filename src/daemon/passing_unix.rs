//! A reply of `admin.sock` with a descriptor beside it: unix(7), SCM_RIGHTS. Knows nothing of what the descriptor is.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use tokio::io::{AsyncWriteExt, BufReader, Interest};
use tokio::net::UnixStream;

use super::link::{Stream, WriteHalf};
use super::protocol::Request;

/// Writes `line`, and the descriptor beside its first byte. Gives the number of bytes written, at least one.
pub(super) async fn send(out: &WriteHalf, line: &[u8], fd: &OwnedFd) -> io::Result<usize> {
    let stream: &UnixStream = out.as_ref();
    let fds = [fd.as_raw_fd()];
    let beside = [ControlMessage::ScmRights(&fds)];
    let send = || {
        let sent =
            sendmsg::<UnixAddr>(stream.as_raw_fd(), &[IoSlice::new(line)], &beside, MsgFlags::MSG_NOSIGNAL, None);
        sent.map_err(io::Error::from)
    };
    stream.async_io(Interest::WRITABLE, send).await
}

/// Asks for a descriptor. Gives the line that is the answer, and what lies beside it.
pub(super) async fn open(
    stream: &mut BufReader<Stream>,
    _path: &Path,
    request: Request,
) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    receive(stream.get_ref()).await
}

async fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Option<OwnedFd>)> {
    let (mut line, mut fd) = (Vec::new(), None);
    while line.last() != Some(&b'\n') {
        let read = stream.async_io(Interest::READABLE, || receive_some(stream, &mut line, &mut fd)).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok((line, fd))
}

/// Nothing follows a reply before the next request, so that no byte of another line is taken.
fn receive_some(stream: &UnixStream, line: &mut Vec<u8>, fd: &mut Option<OwnedFd>) -> io::Result<usize> {
    let (mut buffer, mut beside) = ([0; 1024], nix::cmsg_space!([i32; 1]));
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut beside), flags)?;
    let read = message.bytes;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            // SAFETY: the kernel has just made these descriptors for this process, and nobody else knows their numbers.
            fds.into_iter().for_each(|new| *fd = Some(unsafe { OwnedFd::from_raw_fd(new) }));
        }
    }
    line.extend_from_slice(&buffer[..read]);
    Ok(read)
}
