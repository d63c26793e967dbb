//! Named pipes with programs at their other ends, which are plain files here, as CreateFile gives them.

use std::fs::{File, OpenOptions};
use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use super::{
    Connection, Dir, Direction, InEnd, Listener, Message, OutEnd, Peer, Security, Shape, Sink, Source, pair, written,
};

/// A prefix of its own, which goes with it.
struct Prefix(Dir);

impl Prefix {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = format!(r"\\.\pipe\usbpipe-test-{}-{number}", std::process::id());
        Self(Dir::open_or_create(Path::new(&path)).unwrap().0)
    }

    fn bind(&self, direction: Direction, messages: bool) -> Listener {
        let security = Security::of_this_user().unwrap();
        Listener::bind(&self.0, "ep", Shape { direction, messages }, security).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("ep")
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        self.0.remove_itself();
    }
}

fn open(path: &Path, read: bool, write: bool) -> io::Result<File> {
    OpenOptions::new().read(read).write(write).open(path)
}

async fn write(sink: &mut InEnd, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| sink.poll_write(cx, &[IoSlice::new(bytes)])).await
}

async fn next(source: &mut OutEnd, room: usize) -> (Message, Vec<u8>) {
    let mut buffer = vec![0; room];
    let message = poll_fn(|cx| source.poll_message(cx, &mut buffer)).await.unwrap();
    (message, buffer)
}

fn out_pair(messages: bool) -> (OutEnd, File) {
    let (ours, theirs) = pair(Shape { direction: Direction::Out, messages }).unwrap();
    (OutEnd::new(ours).unwrap(), theirs)
}

fn in_pair() -> (InEnd, File) {
    let (ours, theirs) = pair(Shape { direction: Direction::In, messages: false }).unwrap();
    (InEnd::new(ours, false).unwrap(), theirs)
}

#[tokio::test]
async fn messages_cross_whole_and_an_empty_one_is_not_the_end() {
    let (mut source, mut program) = out_pair(true);
    let long = vec![7; 40_000];
    for message in [&b"one"[..], b"", &long, b"two"] {
        program.write_all(message).unwrap();
        if message.is_empty() {
            assert_eq!(program.write(message).unwrap(), 0);
        }
    }
    drop(program);
    let mut got = Vec::new();
    for _ in 0..5 {
        got.push(next(&mut source, 8000).await.0);
    }
    assert_eq!(got, [Message::Of(3), Message::Of(0), Message::TooLong, Message::Of(3), Message::End]);
}

#[tokio::test]
async fn bytes_come_as_they_were_written_and_then_the_end() {
    let (mut source, mut program) = out_pair(false);
    program.write_all(b"bytes").unwrap();
    assert_eq!(source.waiting(), 5);
    let (message, bytes) = next(&mut source, 3).await;
    assert_eq!((message, &bytes[..]), (Message::Of(3), &b"byt"[..]));
    drop(program);
    let (message, bytes) = next(&mut source, 3).await;
    assert_eq!((message, &bytes[..2]), (Message::Of(2), &b"es"[..]));
    assert_eq!(next(&mut source, 3).await.0, Message::End);
}

#[tokio::test]
async fn what_was_written_is_read_after_the_end_of_the_connection() {
    let (mut sink, mut program) = in_pair();
    let mut taken = 0;
    // More than the pipe holds: the last write is under way when its end goes.
    let fill = |cx: &mut Context<'_>| loop {
        match sink.poll_write(cx, &[IoSlice::new(&[7; 4096])]) {
            Poll::Ready(n) => taken += n.unwrap(),
            Poll::Pending => return Poll::Ready(()),
        }
    };
    poll_fn(fill).await;
    drop(sink);
    let reading = tokio::task::spawn_blocking(move || {
        let mut got = Vec::new();
        program.read_to_end(&mut got).map(|_| got.len())
    });
    assert_eq!(reading.await.unwrap().unwrap(), taken);
    written(std::time::Duration::from_secs(5)).await;
}

#[tokio::test]
async fn the_sink_sees_its_reader_go_full_or_not() {
    for full in [false, true] {
        let (mut sink, program) = in_pair();
        if full {
            poll_fn(|cx| {
                while sink.poll_write(cx, &[IoSlice::new(&[0; 4096])]).is_ready() {}
                Poll::Ready(())
            })
            .await;
        }
        drop(program);
        poll_fn(|cx| sink.poll_closed(cx)).await;
        if full {
            // The first one may still be taken, and is known to be lost by the next.
            let mut written = write(&mut sink, b"x").await;
            if written.is_ok() {
                written = write(&mut sink, b"y").await;
            }
            assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }
}

#[tokio::test]
async fn a_pipe_goes_one_way_and_says_who_came() {
    for (direction, read, write) in [(Direction::In, true, false), (Direction::Out, false, true)] {
        let prefix = Prefix::new();
        let mut listener = prefix.bind(direction, false);
        let refused = open(&prefix.path(), !read, !write).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied, "{direction:?}");
        let _program = open(&prefix.path(), read, write).unwrap();
        let connection: Connection = listener.accept().await.unwrap();
        assert_eq!(Peer::of(&connection).pid, Some(std::process::id()));
    }
}

#[tokio::test]
async fn programs_that_open_a_pipe_twice_or_come_and_go_are_no_trouble() {
    let prefix = Prefix::new();
    let mut listener = prefix.bind(Direction::Out, false);
    drop([open(&prefix.path(), false, true).unwrap(), open(&prefix.path(), false, true).unwrap()]);
    let mut program = open(&prefix.path(), false, true).unwrap();
    program.write_all(b"stays").unwrap();
    loop {
        let mut source = OutEnd::new(listener.accept().await.unwrap()).unwrap();
        let (message, bytes) = next(&mut source, 5).await;
        if message != Message::End {
            return assert_eq!((message, &bytes[..]), (Message::Of(5), &b"stays"[..]));
        }
    }
}

#[test]
fn what_is_no_security_descriptor_is_refused() {
    assert!(Security::parse("D:P(A;;GA;;;SY)").is_ok());
    assert!(Security::parse("nonsense").is_err());
}
