//! The commands' side of `admin.sock`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use super::link::{self, Stream};
use super::passing;
use super::place::{ADMIN, MAY_NOT, SERVICE};
use super::protocol::{Reply, Request};
use crate::session::{Pass, PassedEnd};

/// A connection to a daemon.
pub struct Client {
    stream: BufReader<Stream>,
    path: PathBuf,
}

/// Why a daemon could not be asked.
#[derive(Debug)]
pub enum ClientError {
    /// No daemon answers there.
    NoDaemon(PathBuf, io::Error),
    /// The connection failed, or the daemon said something that is no reply.
    Broken(PathBuf, io::Error),
    /// The daemon could not do it.
    Refused(String),
}

impl Client {
    /// Connects to the daemon of this run dir.
    ///
    /// # Errors
    /// [`ClientError::NoDaemon`].
    pub async fn connect(run_dir: &Path) -> Result<Self, ClientError> {
        let path = run_dir.join(ADMIN);
        match link::connect(&path).await {
            Ok(stream) => Ok(Self { stream: BufReader::new(stream), path }),
            Err(e) => Err(ClientError::NoDaemon(run_dir.to_owned(), e)),
        }
    }

    /// Makes one request.
    ///
    /// # Errors
    /// [`ClientError::Broken`] or [`ClientError::Refused`].
    pub async fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let sent = self.send(request).await;
        // A daemon that turns a client away says why, and reads nothing.
        match (self.next_line().await, sent) {
            (Ok(Some(line)), _) => self.understand(line.as_bytes()),
            (_, Err(e)) | (Err(e), _) => Err(e),
            (Ok(None), Ok(())) => Err(ClientError::Broken(self.path.clone(), io::ErrorKind::UnexpectedEof.into())),
        }
    }

    async fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let broken = |e| ClientError::Broken(self.path.clone(), e);
        let mut line = serde_json::to_vec(request).map_err(|e| broken(e.into()))?;
        line.push(b'\n');
        self.stream.write_all(&line).await.map_err(broken)
    }

    fn understand(&self, line: &[u8]) -> Result<Reply, ClientError> {
        match serde_json::from_slice(line) {
            Ok(Reply::Error(problem)) => Err(ClientError::Refused(problem)),
            Ok(reply) => Ok(reply),
            Err(e) => Err(ClientError::Broken(self.path.clone(), e.into())),
        }
    }

    /// A descriptor of its own for a program that becomes one of this outlet; `program` is its name for `status`.
    ///
    /// # Errors
    /// As of [`Client::ask`].
    pub async fn open(
        &mut self,
        device: &str,
        outlet: &str,
        pass: Pass,
        program: &str,
    ) -> Result<PassedEnd, ClientError> {
        let (device, outlet, program) = (device.to_owned(), outlet.to_owned(), Some(program.to_owned()));
        let request = Request::Open { device, outlet, pass: Some(pass), program };
        let broken = |e| ClientError::Broken(self.path.clone(), e);
        let (line, end) = passing::open(&mut self.stream, &self.path, request).await.map_err(broken)?;
        self.understand(&line)?;
        end.ok_or_else(|| broken(io::Error::other("it sent no descriptor")))
    }

    /// The connection itself, after a request that turns it into a stream of something else.
    pub fn into_stream(self) -> impl AsyncRead + AsyncWrite + Unpin {
        self.stream
    }

    /// The next line that the daemon sends by itself; `None` when it has ended.
    ///
    /// # Errors
    /// [`ClientError::Broken`].
    pub async fn next_line(&mut self) -> Result<Option<String>, ClientError> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(line)),
            Err(e) => Err(ClientError::Broken(self.path.clone(), e)),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon(dir, cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                write!(f, "you may not talk to the daemon in {}: {cause}; {MAY_NOT}", dir.display())
            }
            Self::NoDaemon(dir, cause) => write!(
                f,
                "no daemon runs in {} ({cause}); start one with `usbpipe run` or `usbpipe demo`, or say where it is \
                 with --dir{}",
                dir.display(),
                // The service's, of which commands of other users than root know nothing.
                match SERVICE.map(Path::new) {
                    Some(service) if dir != service && service.exists() =>
                        " (that of the service is --dir /run/usbpipe)",
                    _ => "",
                }
            ),
            Self::Broken(path, cause) => write!(f, "talking to the daemon at {} failed: {cause}", path.display()),
            Self::Refused(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for ClientError {}
