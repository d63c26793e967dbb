//! Several writers of one pipe: they share it message by message, and nobody's bytes are torn by another's.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;
#[path = "common/sockets.rs"]
mod sockets;
#[path = "common/vitals.rs"]
mod vitals;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use common::zero::loopback;
use common::{Daemon, SHARED, read_exactly, wait_child, while_progressing};
use sockets::{connect_stream, is_closed};
use vitals::Events;

/// A shell that writes lines of `c`, of each length up to 4096 bytes with the newline, into what is its stdout.
fn shell(c: char, lines: usize, output: Stdio) -> Child {
    let script = format!(
        "l={c}; while [ ${{#l}} -lt 4095 ]; do l=$l$l; done; n=0; \
         while [ $n -lt {lines} ]; do n=$((n+1)); printf '%.*s\\n' $((4096 - 1 - (n * 37) % 900)) \"$l\"; done"
    );
    Command::new("sh").arg("-c").arg(script).stdout(output).spawn().unwrap()
}

/// Reads so many lines and checks that each is of one letter; gives how many there were of each.
fn count_lines(source: File, lines: usize) -> Vec<(u8, usize)> {
    while_progressing(move |progress| {
        let mut counts = std::collections::BTreeMap::new();
        for line in BufReader::new(source).split(b'\n').take(lines) {
            let line = line.unwrap();
            progress.made();
            assert!(line.iter().all(|b| *b == line[0]), "a line was torn: {}", String::from_utf8_lossy(&line));
            assert!((3196..=4095).contains(&line.len()), "a line of {} bytes", line.len());
            *counts.entry(line[0]).or_default() += 1;
        }
        counts.into_iter().collect()
    })
}

#[test]
fn eight_shells_write_lines_into_the_fifo_and_every_one_arrives_whole() {
    const LINES: usize = 150;
    // Transfers of a size that fits no line, so that reads cut lines wherever they can.
    let (_bus, daemon) = loopback("transfer = 5000", "");
    let back = daemon.reader("zero/ep_82");
    let held = daemon.writer("zero/ep_02");
    let shells: Vec<Child> = ('a'..='h').map(|c| shell(c, LINES, daemon.writer("zero/ep_02").into())).collect();
    let counts = count_lines(back, 8 * LINES);
    assert_eq!(counts, (b'a'..=b'h').map(|c| (c, LINES)).collect::<Vec<_>>());
    shells.into_iter().for_each(|mut shell| assert!(wait_child(&mut shell).success()));
    drop(held);
}

#[test]
fn lines_in_the_fifo_and_from_clients_of_the_socket_tear_nobody() {
    const LINES: usize = 150;
    let (_bus, daemon) = loopback(&format!("{SHARED}\ntransfer = 5000"), "");
    let back = daemon.reader("zero/ep_82");
    let held = daemon.writer("zero/ep_02");
    let connect = || UnixStream::connect(daemon.path("zero/ep_02.sock")).unwrap();
    let mut shells: Vec<Child> = ('a'..='d').map(|c| shell(c, LINES, daemon.writer("zero/ep_02").into())).collect();
    shells.extend(('e'..='h').map(|c| shell(c, LINES, std::os::fd::OwnedFd::from(connect()).into())));
    let counts = count_lines(back, 8 * LINES);
    assert_eq!(counts, (b'a'..=b'h').map(|c| (c, LINES)).collect::<Vec<_>>());
    shells.into_iter().for_each(|mut shell| assert!(wait_child(&mut shell).success()));
    drop(held);
}

fn connect_stream_out(daemon: &Daemon) -> UnixStream {
    connect_stream(daemon, "zero/ep_02.sock")
}

#[test]
fn where_one_writer_is_allowed_a_second_is_refused_and_told_so() {
    let (_bus, daemon) = loopback(&format!("{SHARED}\nwriters = \"one\""), "");
    let mut events = Events::of(&daemon);
    let back = daemon.reader("zero/ep_82");
    let mut first = connect_stream_out(&daemon);
    let second = UnixStream::connect(daemon.path("zero/ep_02.sock")).unwrap();
    let refused = events.wait("refuse", "zero");
    assert_eq!(refused["outlet"], "ep_02.sock");
    let text = refused["text"].as_str().unwrap();
    assert!(text.contains(&format!("process {}", std::process::id())) && text.contains("writers = \"one\""), "{text}");
    assert!(is_closed(&second));
    // What is written into the FIFO waits until the first is gone.
    let mut fifo = daemon.writer("zero/ep_02");
    fifo.write_all(b"later").unwrap();
    first.write_all(b"first").unwrap();
    let (back, got) = read_exactly(back, 5);
    assert_eq!(got, b"first");
    drop(first);
    assert_eq!(read_exactly(back, 5).1, b"later");
    // Now the FIFO has its writer, and the socket refuses.
    assert!(is_closed(&UnixStream::connect(daemon.path("zero/ep_02.sock")).unwrap()));
    drop(fifo);
    daemon.wait_pipe("zero", "ep_02", |pipe| pipe["open"] == false);
    connect_stream_out(&daemon).write_all(b"again").unwrap();
    assert_eq!(daemon.wait_count("zero", "ep_02", "bytes", 15), 15);
}
