//! What a fuzzer does with `admin.sock`: any bytes, to a daemon without devices.

use futures_util::FutureExt;

use super::Devices;
use super::admin::{Leases, carry_out, parse};
use super::protocol::{Reply, Request};
use crate::session::{TextLine, TextReader};

/// The first two bytes choose the longest line and the length of the pieces in which bytes arrive.
///
/// # Panics
/// When a request or a reply does not survive its own line, a line is longer than the limit, or an answer does not come.
pub fn admin(data: &[u8]) {
    let [limit, piece, bytes @ ..] = data else { return };
    let (limit, piece) = (usize::from(*limit) * 16 + 1, usize::from(*piece) + 1);
    let (devices, mut leases) = (Devices::default(), Leases::default());
    for line in lines(bytes, piece, limit) {
        let reply = match parse(line) {
            Ok(Request::Events | Request::Open { .. } | Request::Capture { .. }) => continue,
            Ok(request) => {
                let text = serde_json::to_string(&request).expect("a request is JSON");
                assert_eq!(parse(TextLine::Text(text)), Ok(request.clone()));
                carry_out(request, &devices, &mut leases).now_or_never().expect("nothing is waited for")
            }
            Err(problem) => Reply::Error(problem),
        };
        let text = serde_json::to_string(&reply).expect("a reply is JSON");
        assert!(!text.contains('\n') && serde_json::from_str::<Reply>(&text).is_ok(), "{text}");
    }
}

/// The lines of a client that sends these bytes and goes.
fn lines(bytes: &[u8], piece: usize, limit: usize) -> Vec<TextLine> {
    let (mut reader, mut lines) = (TextReader::new(Pieces { bytes, piece }, limit), Vec::new());
    while let Some(line) = reader.next().now_or_never().expect("the source is always ready") {
        match &line {
            // What is no text becomes up to three times as long.
            TextLine::Text(text) => assert!(text.len() <= 3 * limit && !text.contains('\n')),
            TextLine::TooLong => {}
        }
        lines.push(line);
    }
    lines
}

struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl tokio::io::AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let n = self.piece.min(self.bytes.len()).min(buffer.remaining());
        let (piece, rest) = self.bytes.split_at(n);
        buffer.put_slice(piece);
        self.bytes = rest;
        std::task::Poll::Ready(Ok(()))
    }
}
