//! Hot path. One writer's messages: cut out of its bytes, or whole as they come.
//!
//! Each writer has a decoder of its own, so that half a message of one is nobody else's trouble.

use std::io;
use std::task::{Context, Poll, ready};

use super::Counters;
use super::deframe::{Decoded, Decoder};
use super::frame::Framing;
use crate::outlet::{Message, Source};

/// How the bytes of one writer become messages.
pub(super) enum Cutter {
    /// A read, or a message of the source, is a message.
    Whole,
    /// Messages are cut out of the bytes.
    Cut(Box<Cut>),
}

pub(super) struct Cut {
    decoder: Decoder,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    /// The message under construction.
    message: Box<[u8]>,
    filled: usize,
}

impl Cutter {
    /// For messages of at most `size` bytes.
    pub(super) fn new(framing: Framing, size: usize) -> Self {
        let decoder = match framing {
            Framing::Length => Decoder::length(),
            Framing::Hex => Decoder::hex(),
            Framing::Stream | Framing::Packet | Framing::Jsonl => return Self::Whole,
        };
        let buffer = |size| vec![0; size].into_boxed_slice();
        let (input, message) = (buffer(INPUT_SIZE), buffer(size));
        Self::Cut(Box::new(Cut { decoder, input, start: 0, end: 0, message, filled: 0 }))
    }

    /// Puts the next message into `out` and gives its length; `None` when the writer has gone.
    pub(super) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
        out: &mut [u8],
        counters: &Counters,
    ) -> Poll<io::Result<Option<usize>>> {
        let Self::Cut(cut) = self else { return poll_whole(cx, source, out, counters) };
        cut.poll_message(cx, source, out, counters)
    }

    /// The writer has gone: half a message of its is dropped, and counted.
    pub(super) fn end(&mut self, counters: &Counters) {
        if let Self::Cut(cut) = self
            && cut.decoder.is_inside()
        {
            cut.restart();
            counters.refuse_message(false);
        }
    }
}

fn poll_whole(
    cx: &mut Context<'_>,
    source: &mut dyn Source,
    out: &mut [u8],
    counters: &Counters,
) -> Poll<io::Result<Option<usize>>> {
    loop {
        match ready!(source.poll_message(cx, out))? {
            Message::Of(n) => return Poll::Ready(Ok(Some(n))),
            Message::TooLong => counters.refuse_message(true),
            Message::End => return Poll::Ready(Ok(None)),
        }
    }
}

impl Cut {
    fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut dyn Source,
        out: &mut [u8],
        counters: &Counters,
    ) -> Poll<io::Result<Option<usize>>> {
        loop {
            if self.start == self.end {
                let n = ready!(source.poll_read(cx, &mut self.input))?;
                if n == 0 {
                    return Poll::Ready(Ok(None));
                }
                self.start = 0;
                self.end = n;
            }
            let input = &self.input[self.start..self.end];
            let (used, decoded) = self.decoder.decode(input, &mut self.message, &mut self.filled);
            self.start += used;
            match decoded {
                Decoded::More => {}
                Decoded::Bad => counters.refuse_message(false),
                Decoded::TooLong => counters.refuse_message(true),
                Decoded::Message(n) => {
                    out[..n].copy_from_slice(&self.message[..n]);
                    return Poll::Ready(Ok(Some(n)));
                }
            }
        }
    }

    fn restart(&mut self) {
        self.decoder = match self.decoder {
            Decoder::Length { .. } => Decoder::length(),
            Decoder::Hex { .. } => Decoder::hex(),
        };
        self.filled = 0;
    }
}

/// Bytes read at once for the framings whose messages are cut out of what was read.
const INPUT_SIZE: usize = 16 * 1024;
