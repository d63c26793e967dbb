//! A USB/IP server that says whatever a test wants: any descriptors, and any nonsense before them.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of it"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use usbip_wire::{
    BUSID_LEN, DeviceRecord, Direction, HEADER_LEN, Header, OP_HEADER_LEN, OpCode, OpHeader, RetSubmit, Speed, Submit,
    status,
};

/// What the server's device says of itself.
#[derive(Clone)]
pub struct Fake {
    pub device: Vec<u8>,
    pub configuration: Vec<u8>,
    /// By index from 1, as raw descriptors.
    pub strings: Vec<Vec<u8>>,
    /// Sent for every transfer that is not to endpoint 0; `None` never answers.
    pub answer: Option<Vec<u8>>,
    /// What is sent for those transfers instead.
    pub script: Option<Script>,
    /// Requests that are answered with a stall, by bRequest.
    pub refused: &'static [u8],
    /// The status of the answer to an unlink.
    pub unlinked: i32,
    /// Sent as the reply to each transfer after the answer to its unlink.
    pub late: Option<Vec<u8>>,
    /// How long an import takes.
    pub import: Duration,
    pub seen: Arc<Seen>,
}

/// The answer to the nth transfer; `None` is a stall.
pub type Script = fn(usize) -> Option<Vec<u8>>;

/// What a server saw of its clients.
#[derive(Default)]
pub struct Seen {
    /// How many unlinks came together, at most: a server that takes its time answers them one by one.
    pub unlinks_together: AtomicUsize,
    pub unlinks: AtomicUsize,
    /// Transfers that are not to endpoint 0.
    pub transfers: AtomicUsize,
    /// Of those, the ones that are never answered.
    pub unanswered: AtomicUsize,
    /// Transfers that were in flight when their client had gone.
    pub left: AtomicUsize,
    /// Clients that have gone.
    pub ended: AtomicUsize,
}

/// What the server does with a connection.
#[derive(Clone)]
pub enum Behaviour {
    /// Serves the device.
    Serve(Fake),
    /// Takes the request and writes these bytes, again and again if told so.
    Say { bytes: Vec<u8>, forever: bool },
    /// Answers the import, then nothing more.
    SilentAfterImport,
    /// Never answers.
    Silent,
    /// Whatever a test does with it.
    Run(Arc<dyn Fn(TcpStream) -> std::io::Result<()> + Send + Sync>),
}

pub struct Peer {
    pub port: u16,
    /// How many connections there were.
    pub connections: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    /// A vendor device with one bulk IN endpoint 0x81 and these strings.
    pub fn with_strings(strings: [&str; 3]) -> Self {
        let mut configuration = vec![9, 2, 0, 0, 1, 1, 0, 0x80, 50];
        configuration.extend([9, 4, 0, 0, 1, 0xff, 0, 0, 0]);
        configuration.extend([7, 5, 0x81, 2, 0x00, 0x02, 0]);
        configuration[2] = configuration.len() as u8;
        Self {
            device: vec![18, 1, 0, 2, 0, 0, 0, 64, 0x09, 0x12, 0x77, 0, 0, 1, 1, 2, 3, 1],
            configuration,
            strings: strings.map(string_descriptor).into(),
            answer: Some(b"data".to_vec()),
            script: None,
            refused: &[],
            unlinked: status::ECONNRESET,
            late: None,
            import: Duration::ZERO,
            seen: Arc::default(),
        }
    }

    /// A device whose bulk IN endpoint never answers by itself.
    pub fn silent() -> Self {
        Self { answer: None, ..Self::with_strings(["", "", ""]) }
    }

    fn describe(&self, setup: [u8; 8]) -> Option<&[u8]> {
        let [_, 6, index, kind, ..] = setup else { return (!self.refused.contains(&setup[1])).then_some(&[]) };
        match (kind, index) {
            (1, _) => Some(&self.device),
            (2, 0) => Some(&self.configuration),
            (3, 0) => Some(&[4, 3, 9, 4]),
            (3, index) => self.strings.get(usize::from(index) - 1).map(Vec::as_slice),
            _ => None,
        }
    }
}

impl Peer {
    pub fn new(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (over, connections) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (ended, count) = (over.clone(), connections.clone());
        let thread = spawn(move || {
            let mut open: Vec<TcpStream> = Vec::new();
            while let Ok((stream, _)) = listener.accept() {
                if ended.load(SeqCst) {
                    break;
                }
                count.fetch_add(1, SeqCst);
                open.push(stream.try_clone().unwrap());
                let behaviour = behaviour.clone();
                spawn(move || behaviour.act(stream));
            }
            open.iter().for_each(|s| drop(s.shutdown(Shutdown::Both)));
        });
        Self { port, connections, over, thread: Some(thread) }
    }

    /// A server that runs this with each connection.
    pub fn run(run: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        Self::new(Behaviour::Run(Arc::new(run)))
    }

    /// `[[device]]` for the server's device.
    pub fn device(&self, name: &str, rest: &str) -> String {
        format!("[[device]]\nname = \"{name}\"\nremote = \"usbip://127.0.0.1:{}/1-1\"\n{rest}\n", self.port)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.over.store(true, SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        let _ = self.thread.take().unwrap().join();
    }
}

impl Behaviour {
    /// The client goes when it has had enough, so errors are no failure here.
    fn act(self, mut stream: TcpStream) {
        let result = match self {
            Self::Serve(fake) => serve(&mut stream, &fake),
            Self::Silent => wait_for_end(&mut stream),
            Self::Run(run) => stream.try_clone().and_then(|stream| run(stream)),
            Self::SilentAfterImport => {
                negotiate(&mut stream, &Fake::with_strings(["", "", ""])).and_then(|()| wait_for_end(&mut stream))
            }
            Self::Say { bytes, forever } => say(&mut stream, &bytes, forever),
        };
        // The listener's thread has a copy of it.
        drop((result, stream.shutdown(Shutdown::Both)));
    }
}

fn say(stream: &mut TcpStream, bytes: &[u8], forever: bool) -> std::io::Result<()> {
    stream.read_exact(&mut [0; OP_HEADER_LEN])?;
    stream.write_all(bytes)?;
    if !forever {
        return wait_for_end(stream);
    }
    let again = bytes.get(OP_HEADER_LEN + 4..).unwrap_or(bytes);
    loop {
        stream.write_all(again)?;
    }
}

fn wait_for_end(stream: &mut TcpStream) -> std::io::Result<()> {
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(())
}

fn negotiate(stream: &mut TcpStream, fake: &Fake) -> std::io::Result<()> {
    loop {
        let mut header = [0; OP_HEADER_LEN];
        stream.read_exact(&mut header)?;
        let record = record(fake).encode();
        match OpHeader::decode(&header).map_err(|_| ErrorKind::InvalidData)?.code {
            OpCode::ReqDevlist => {
                let mut reply = OpHeader { code: OpCode::RepDevlist, status: 0 }.encode().to_vec();
                reply.extend(1u32.to_be_bytes());
                reply.extend(record);
                reply.extend([0xff, 0, 0, 0]);
                stream.write_all(&reply)?;
            }
            _ => {
                stream.read_exact(&mut [0; BUSID_LEN])?;
                sleep(fake.import);
                let mut reply = OpHeader { code: OpCode::RepImport, status: 0 }.encode().to_vec();
                reply.extend(record);
                return stream.write_all(&reply);
            }
        }
    }
}

fn serve(stream: &mut TcpStream, fake: &Fake) -> std::io::Result<()> {
    negotiate(stream, fake)?;
    let mut pending = Vec::new();
    let result = serve_transfers(stream, fake, &mut pending);
    fake.seen.left.fetch_add(pending.len(), SeqCst);
    fake.seen.ended.fetch_add(1, SeqCst);
    result
}

fn serve_transfers(stream: &mut TcpStream, fake: &Fake, pending: &mut Vec<Submit>) -> std::io::Result<()> {
    loop {
        match next(stream)? {
            Header::Submit(submit) if submit.endpoint != 0 && fake.answer.is_none() => {
                if submit.direction == Direction::Out {
                    std::io::copy(&mut Read::take(&mut *stream, submit.length.into()), &mut std::io::sink())?;
                }
                fake.seen.unanswered.fetch_add(1, SeqCst);
                pending.push(submit);
            }
            Header::Submit(submit) => answer(stream, fake, &submit)?,
            Header::Unlink { seqnum, victim, .. } => unlink(stream, fake, pending, (seqnum, victim))?,
            _ => return Err(ErrorKind::InvalidData.into()),
        }
    }
}

/// Answers an unlink, and those that come before that.
fn unlink(stream: &mut TcpStream, fake: &Fake, pending: &mut Vec<Submit>, first: (u32, u32)) -> std::io::Result<()> {
    let mut together = vec![first];
    stream.set_read_timeout(Some(MORE_UNLINKS))?;
    while let Ok(1) = stream.peek(&mut [0])
        && let Header::Unlink { seqnum, victim, .. } = next(stream)?
    {
        together.push((seqnum, victim));
    }
    stream.set_read_timeout(None)?;
    fake.seen.unlinks_together.fetch_max(together.len(), SeqCst);
    fake.seen.unlinks.fetch_add(together.len(), SeqCst);
    for (seqnum, victim) in together {
        stream.write_all(&Header::RetUnlink { seqnum, status: fake.unlinked }.encode())?;
        let Some(at) = pending.iter().position(|submit| submit.seqnum == victim) else { continue };
        let submit = pending.remove(at);
        if let Some(late) = &fake.late {
            reply(stream, &submit, Some(late.clone()))?;
        }
    }
    Ok(())
}

fn next(stream: &mut TcpStream) -> std::io::Result<Header> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header)?;
    Header::decode(&header).map_err(|_| ErrorKind::InvalidData.into())
}

fn answer(stream: &mut TcpStream, fake: &Fake, submit: &Submit) -> std::io::Result<()> {
    if submit.direction == Direction::Out {
        std::io::copy(&mut Read::take(&mut *stream, submit.length.into()), &mut std::io::sink())?;
    }
    let said = match submit.endpoint {
        0 => fake.describe(submit.setup).map(<[u8]>::to_vec),
        _ => {
            let number = fake.seen.transfers.fetch_add(1, SeqCst);
            fake.script.map_or_else(|| fake.answer.clone(), |script| script(number))
        }
    };
    reply(stream, submit, said)
}

/// Replies to a transfer with this, or with a stall.
fn reply(stream: &mut TcpStream, submit: &Submit, said: Option<Vec<u8>>) -> std::io::Result<()> {
    let is_in = submit.direction == Direction::In;
    let status = if said.is_some() { status::OK } else { status::EPIPE };
    let mut data = said.unwrap_or_default();
    data.truncate(submit.length as usize);
    let actual_length = if is_in { data.len() as u32 } else { submit.length };
    let reply =
        RetSubmit { seqnum: submit.seqnum, status, actual_length, start_frame: 0, packets: None, error_count: 0 };
    stream.write_all(&Header::RetSubmit(reply).encode())?;
    if is_in { stream.write_all(&data) } else { Ok(()) }
}

/// How long a server that was told to cancel something waits for more of that before it answers.
const MORE_UNLINKS: Duration = Duration::from_millis(20);

/// A string descriptor: USB 2.0, 9.6.7.
pub fn string_descriptor(text: &str) -> Vec<u8> {
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [vec![(units.len() + 2) as u8, 3], units].concat()
}

/// What the server says of the device in the import.
pub fn record(fake: &Fake) -> DeviceRecord {
    let id = |at: usize| u16::from_le_bytes([at, at + 1].map(|at| fake.device.get(at).copied().unwrap_or(0)));
    DeviceRecord {
        path: "/sys/fake".into(),
        busid: "1-1".into(),
        busnum: 1,
        devnum: 1,
        speed: Speed::High,
        vendor_id: id(8),
        product_id: id(10),
        device_version: 0,
        class: 0,
        subclass: 0,
        protocol: 0,
        configuration_value: 1,
        num_configurations: 1,
        num_interfaces: 1,
    }
}
