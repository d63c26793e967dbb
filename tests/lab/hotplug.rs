//! Devices are pulled out of real ports and plugged in again while programs have their pipes open: a gadget by its
//! controller, a simulated device by vhci-hcd, both at the same time.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{JoinHandle, park, scope, spawn};

use firmware_mock::DeviceKind::Zero;

use crate::common::bytes::pattern;
use crate::common::{Bus, Daemon, PATIENCE, wait_for, within};
use crate::guest::{Function, Gadget, Guest, VhciPort};
use crate::vitals::{Events, Size, inode};

#[test]
fn programs_that_hold_their_pipes_go_on_after_each_unplug_and_nothing_grows() {
    let Some(guest) = Guest::here() else { return };
    let (mut cables, daemon) = plugged(&guest, "hold");
    let inodes: Vec<_> = cables.iter().map(|c| c.inodes(&daemon)).collect();
    let traffic: Vec<Traffic> = cables.iter().map(|c| Traffic::through(&daemon, c)).collect();
    let rounds = |cables: &mut [Cable], count: usize| {
        scope(|scope| {
            for (cable, traffic) in cables.iter_mut().zip(&traffic) {
                let mut events = Events::of(&daemon);
                scope.spawn(move || (0..count).for_each(|_| traffic.survives_a_round(cable, &mut events)));
            }
        });
        traffic.iter().for_each(Traffic::progresses);
        Size::of(&daemon)
    };
    let warm = rounds(&mut cables, WARM);
    rounds(&mut cables, unplugs());
    warm.assert_still_holds(&daemon);
    for (cable, inodes) in cables.iter().zip(inodes) {
        assert_eq!(cable.inodes(&daemon), inodes);
        assert_eq!(daemon.status(cable.name)["sessions"], 1 + WARM + unplugs());
        assert_eq!(daemon.count(cable.name, &cable.sink, "stalls"), 0, "{} got a wrong byte", cable.name);
    }
    traffic.into_iter().for_each(Traffic::end);
}

#[test]
fn with_eof_readers_end_and_come_back_after_each_unplug_and_nothing_grows() {
    let Some(guest) = Guest::here() else { return };
    let (mut cables, daemon) = plugged(&guest, "eof");
    let inodes: Vec<_> = cables.iter().map(|c| c.inodes(&daemon)).collect();
    let rounds = |cables: &mut [Cable], count: usize| {
        scope(|scope| {
            for cable in cables.iter_mut() {
                let source = daemon.path(&format!("{}/{}", cable.name, cable.source));
                scope.spawn(move || (0..count).for_each(|_| reader_ends_and_comes_back(&source, cable)));
            }
        });
        cables.iter().for_each(|c| drop(daemon.wait_status(c.name, |s| s["state"] == "attached")));
        Size::of(&daemon)
    };
    let warm = rounds(&mut cables, WARM);
    rounds(&mut cables, unplugs());
    warm.assert_still_holds(&daemon);
    for (cable, inodes) in cables.iter().zip(inodes) {
        assert_eq!(cable.inodes(&daemon), inodes);
    }
}

/// How often each of the two devices is pulled out.
fn unplugs() -> usize {
    crate::common::rounds(25)
}

fn reader_ends_and_comes_back(source: &Path, cable: &mut Cable) {
    let path = source.to_owned();
    // Opening waits for the device; it does not matter whether that is back already.
    let mut reader = within(PATIENCE, || File::open(path).unwrap());
    let reader = within(PATIENCE, move || {
        expect_pattern(&mut reader, 100_000);
        reader
    });
    cable.pull();
    within(PATIENCE, move || expect_pattern_to_end(reader));
    cable.plug();
}

/// A gadget `g` and an attached simulated device `v`, both with a source and a sink, and a daemon that has both.
fn plugged<'a>(guest: &'a Guest, unplug: &str) -> ([Cable<'a>; 2], Daemon) {
    let gadget = guest.gadget("1209:f005", &[Function::source_sink()]);
    let (source, sink) = gadget.plug().pair();
    let bus = Bus::with(&[Zero]);
    let attached = Some(guest.attach_unawaited(&bus, "zero"));
    let cables = [
        Cable { name: "g", source, sink, end: End::Gadget(gadget) },
        Cable { name: "v", source: "ep_81".into(), sink: "ep_01".into(), end: End::Vhci { guest, bus, attached } },
    ];
    // The kernel's own driver for gadget zero takes it at each attach.
    let ids = ["vid = 0x1209, pid = 0xf005 }", "vid = 0x0525, pid = 0xa4a0 }\ndetach = true"];
    let config = cables.iter().zip(ids).map(|(cable, ids)| cable.config(ids, unplug)).collect::<String>();
    (cables, Daemon::run(&config))
}

/// A device and what pulls it out.
struct Cable<'a> {
    name: &'static str,
    source: String,
    sink: String,
    end: End<'a>,
}

enum End<'a> {
    Gadget(Gadget),
    Vhci { guest: &'a Guest, bus: Bus, attached: Option<VhciPort> },
}

impl Cable<'_> {
    fn pull(&mut self) {
        match &mut self.end {
            End::Gadget(gadget) => gadget.unplug(),
            End::Vhci { attached, .. } => drop(attached.take()),
        }
    }

    fn plug(&mut self) {
        match &mut self.end {
            End::Gadget(gadget) => gadget.plug_unawaited(),
            End::Vhci { guest, bus, attached } => *attached = Some(guest.attach_unawaited(bus, "zero")),
        }
    }

    /// Pipes with small transfers, so that little is under way.
    fn config(&self, ids: &str, unplug: &str) -> String {
        let mut text = format!("[[device]]\nname = \"{}\"\nunplug = \"{unplug}\"\nmatch = {{ {ids}\n", self.name);
        for outlet in [&self.source, &self.sink] {
            let endpoint = outlet.trim_start_matches("ep_");
            text.push_str(&format!("[[device.pipe]]\nendpoint = 0x{endpoint}\ntransfer = 4096\nqueue = 2\n"));
        }
        text
    }

    fn inodes(&self, daemon: &Daemon) -> Vec<(u64, u64)> {
        let outlets = [&self.source, &self.sink, "ep_00.request", "ep_00.response"];
        outlets.map(|outlet| inode(&daemon.path(&format!("{}/{outlet}", self.name)))).into()
    }
}

/// Threads that read a source and check every byte, and write what the sink wants, while bytes shall flow.
struct Traffic {
    name: &'static str,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    flows: AtomicBool,
    over: AtomicBool,
    read: AtomicU64,
    written: AtomicU64,
}

impl Shared {
    /// Waits until bytes shall flow; whether there are to be more.
    fn goes_on(&self) -> bool {
        while !self.flows.load(SeqCst) && !self.over.load(SeqCst) {
            park();
        }
        !self.over.load(SeqCst)
    }
}

impl Traffic {
    fn through(daemon: &Daemon, cable: &Cable) -> Self {
        let shared: Arc<Shared> = Arc::default();
        let mut source = daemon.reader(&format!("{}/{}", cable.name, cable.source));
        let mut sink = daemon.writer(&format!("{}/{}", cable.name, cable.sink));
        let (of_reader, of_writer) = (shared.clone(), shared.clone());
        let reader = spawn(move || {
            while of_reader.goes_on() {
                expect_pattern(&mut source, CHUNK);
                of_reader.read.fetch_add(CHUNK as u64, SeqCst);
            }
        });
        // It ends with the daemon at the latest.
        let writer = spawn(move || {
            let bytes = pattern(4096);
            while of_writer.goes_on() && sink.write_all(&bytes).is_ok() {
                of_writer.written.fetch_add(4096, SeqCst);
            }
        });
        Self { name: cable.name, reader, writer, shared }
    }

    /// Pulls the device out while bytes flow, and plugs it in again.
    fn survives_a_round(&self, cable: &mut Cable, events: &mut Events) {
        self.progresses();
        cable.pull();
        events.wait("detach", self.name);
        self.shared.flows.store(false, SeqCst);
        cable.plug();
        events.wait("attach", self.name);
    }

    /// Lets bytes flow, until more has come through both ways than pipes can hold.
    fn progresses(&self) {
        let now = || (self.shared.read.load(SeqCst), self.shared.written.load(SeqCst));
        let before = now();
        self.shared.flows.store(true, SeqCst);
        self.wake();
        let done = || (now().0 > before.0 + IN_PIPES && now().1 > before.1 + IN_PIPES).then_some(());
        let failed = || self.reader.is_finished();
        wait_for(done, || format!("{}: from {before:?} to {:?}; reader failed: {}", self.name, now(), failed()));
    }

    fn wake(&self) {
        self.reader.thread().unpark();
        self.writer.thread().unpark();
    }

    /// Ends the reader, which fails the story if it has seen a wrong byte.
    fn end(self) {
        self.shared.over.store(true, SeqCst);
        self.wake();
        self.reader.join().unwrap();
    }
}

fn expect_pattern(source: &mut File, n: usize) {
    let mut bytes = vec![0; n.next_multiple_of(512)];
    source.read_exact(&mut bytes).unwrap();
    assert_pattern(&bytes);
}

fn expect_pattern_to_end(mut source: File) {
    let mut bytes = Vec::new();
    source.read_to_end(&mut bytes).unwrap();
    assert_pattern(&bytes);
}

fn assert_pattern(bytes: &[u8]) {
    let wrong = bytes.iter().enumerate().find(|&(at, &byte)| usize::from(byte) != at % 512 % 63);
    assert_eq!(wrong, None, "of {} bytes", bytes.len());
}

/// Unplugs before anything is measured.
const WARM: usize = 5;
/// Bytes that are read and checked at a time.
const CHUNK: usize = 512 * 16;
/// More than the FIFO and the buffers of a pipe hold in all.
const IN_PIPES: u64 = 128 * 1024;
