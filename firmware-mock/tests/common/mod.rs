//! A mock on a thread of its own, and a USB/IP client that does nothing on its own accord.
//!
//! One job: let a test say what goes over the wire and see what comes back. It refuses to sleep: every wait is
//! for a reply, and a reply that does not come within [`PATIENCE`] fails the test.

#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failure here is the test's failure")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use firmware_mock::{DeviceKind, Mock};
use tokio::sync::oneshot;
use usbip_wire::{
    DEVICE_RECORD_LEN, DeviceRecord, Direction, HEADER_LEN, Header, INTERFACE_RECORD_LEN, ISO_PACKET_LEN, IsoPacket,
    OP_HEADER_LEN, OpCode, OpHeader, RetSubmit, Submit, encode_busid,
};

/// How long a reply may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A running mock; ends when dropped.
pub struct Lab {
    pub address: SocketAddr,
    control: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lab {
    pub fn new(devices: &[DeviceKind]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let control = std::env::temp_dir().join(format!("firmware-mock-test-{}-{number}.sock", std::process::id()));
        let _ = std::fs::remove_file(&control);
        let mock = Mock::new(devices);
        let (stop, stopped) = oneshot::channel();
        let (ready, address) = std::sync::mpsc::channel();
        let path = control.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                let control = tokio::net::UnixListener::bind(path).unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                let shutdown = async { stopped.await.unwrap_or(()) };
                mock.serve(listener, Some(control), shutdown).await.unwrap();
            });
        });
        Self { address: address.recv().unwrap(), control, stop: Some(stop), thread: Some(thread) }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Imports a device that must be there.
    pub fn import(&self, busid: &str) -> Client {
        self.try_import(busid).unwrap_or_else(|status| panic!("import of {busid} refused with {status}"))
    }

    pub fn try_import(&self, busid: &str) -> Result<Client, u32> {
        let mut stream = self.connect();
        stream.write_all(&OpHeader { code: OpCode::ReqImport, status: 0 }.encode()).unwrap();
        stream.write_all(&encode_busid(busid)).unwrap();
        let header = OpHeader::decode(&read(&mut stream)).unwrap();
        assert_eq!(header.code, OpCode::RepImport);
        if header.status != 0 {
            return Err(header.status);
        }
        let record = DeviceRecord::decode(&read::<DEVICE_RECORD_LEN>(&mut stream));
        Ok(Client { stream, record, seqnum: 0, sent: HashMap::new(), early: Vec::new(), held: None })
    }

    /// Asks again, as a client with hotplug would, until the import succeeds.
    pub fn import_when_back(&self, busid: &str) -> Client {
        let start = Instant::now();
        loop {
            match self.try_import(busid) {
                Ok(client) => return client,
                Err(status) if start.elapsed() > PATIENCE => panic!("{busid} is still refused with {status}"),
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    pub fn devlist(&self) -> Vec<DeviceRecord> {
        let mut stream = self.connect();
        stream.write_all(&OpHeader { code: OpCode::ReqDevlist, status: 0 }.encode()).unwrap();
        assert_eq!(OpHeader::decode(&read::<OP_HEADER_LEN>(&mut stream)).unwrap().code, OpCode::RepDevlist);
        let count = u32::from_be_bytes(read(&mut stream));
        let mut record = || {
            let record = DeviceRecord::decode(&read::<DEVICE_RECORD_LEN>(&mut stream));
            for _ in 0..record.num_interfaces {
                read::<INTERFACE_RECORD_LEN>(&mut stream);
            }
            record
        };
        (0..count).map(|_| record()).collect()
    }

    /// One command on the control socket, and its answer.
    pub fn order(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(&self.control).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        writeln!(stream, "{command}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    /// A command that must succeed.
    pub fn fault(&self, command: &str) {
        assert_eq!(self.order(command), "ok", "{command}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_file(&self.control);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the mock did not end cleanly");
        }
    }
}

/// An imported device.
pub struct Client {
    pub stream: TcpStream,
    pub record: DeviceRecord,
    seqnum: u32,
    sent: HashMap<u32, Direction>,
    early: Vec<Reply>,
    /// Requests held back by [`Client::cork`].
    held: Option<Vec<u8>>,
}

/// A reply to a submit or an unlink.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    pub seqnum: u32,
    pub status: i32,
    pub actual: usize,
    pub data: Vec<u8>,
    pub packets: Vec<IsoPacket>,
    pub unlink: bool,
}

impl Client {
    fn request(&mut self, direction: Direction, endpoint: u8, length: usize, packets: &[IsoPacket]) -> Submit {
        self.seqnum += 1;
        self.sent.insert(self.seqnum, direction);
        Submit {
            seqnum: self.seqnum,
            devid: self.record.devid(),
            direction,
            endpoint,
            flags: 0,
            length: length as u32,
            start_frame: 0,
            packets: (!packets.is_empty()).then_some(packets.len() as u32),
            interval: 0,
            setup: [0; 8],
        }
    }

    fn send(&mut self, submit: &Submit, data: &[u8], packets: &[IsoPacket]) -> u32 {
        let mut bytes = Header::Submit(*submit).encode().to_vec();
        bytes.extend(data);
        bytes.extend(packets.iter().flat_map(IsoPacket::encode));
        match &mut self.held {
            Some(held) => held.extend(bytes),
            None => self.stream.write_all(&bytes).unwrap(),
        }
        submit.seqnum
    }

    /// Holds requests back…
    pub fn cork(&mut self) {
        self.held = Some(Vec::new());
    }

    /// …and sends them at once, so that no time passes between them.
    pub fn uncork(&mut self) {
        let held = self.held.take().expect("corked before");
        self.stream.write_all(&held).unwrap();
    }

    /// Waits until the server has seen all requests so far.
    pub fn sync(&mut self) {
        assert_eq!(self.control(0x80, 8, 0, 0, Data::In(1)).status, 0);
    }

    /// Queues an IN transfer; `endpoint` is the address.
    pub fn submit_in(&mut self, endpoint: u8, length: usize) -> u32 {
        let submit = self.request(Direction::In, endpoint & 0x0f, length, &[]);
        self.send(&submit, &[], &[])
    }

    /// Queues an OUT transfer.
    pub fn submit_out(&mut self, endpoint: u8, data: &[u8]) -> u32 {
        let submit = self.request(Direction::Out, endpoint, data.len(), &[]);
        self.send(&submit, data, &[])
    }

    /// Queues an isochronous transfer of equal packets; `data` is what OUT sends.
    pub fn submit_iso(&mut self, endpoint: u8, packet: usize, count: usize, data: &[u8]) -> u32 {
        let packets: Vec<IsoPacket> = (0..count)
            .map(|i| IsoPacket { offset: (i * packet) as u32, length: packet as u32, ..IsoPacket::default() })
            .collect();
        let direction = if endpoint & 0x80 == 0 { Direction::Out } else { Direction::In };
        let submit = self.request(direction, endpoint & 0x0f, packet * count, &packets);
        self.send(&submit, data, &packets)
    }

    /// Queues a control transfer.
    pub fn submit_control(&mut self, setup: [u8; 8], data: &[u8]) -> u32 {
        let direction = if setup[0] & 0x80 == 0 { Direction::Out } else { Direction::In };
        let length = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
        let submit = Submit { setup, ..self.request(direction, 0, length, &[]) };
        self.send(&submit, data, &[])
    }

    pub fn unlink(&mut self, victim: u32) -> u32 {
        self.seqnum += 1;
        let devid = self.record.devid();
        let header = Header::Unlink { seqnum: self.seqnum, devid, direction: Direction::Out, endpoint: 0, victim };
        self.stream.write_all(&header.encode()).unwrap();
        self.seqnum
    }

    /// The next reply on the wire.
    pub fn next_reply(&mut self) -> Reply {
        let header = Header::decode(&read::<HEADER_LEN>(&mut self.stream)).unwrap();
        match header {
            Header::RetUnlink { seqnum, status } => {
                Reply { seqnum, status, actual: 0, data: vec![], packets: vec![], unlink: true }
            }
            Header::RetSubmit(RetSubmit { seqnum, status, actual_length, packets, .. }) => {
                let incoming = self.sent.remove(&seqnum).expect("a reply to what was sent") == Direction::In;
                let mut data = vec![0; if incoming { actual_length as usize } else { 0 }];
                self.stream.read_exact(&mut data).unwrap();
                let packets = (0..packets.unwrap_or(0))
                    .map(|_| IsoPacket::decode(&read::<ISO_PACKET_LEN>(&mut self.stream)))
                    .collect();
                Reply { seqnum, status, actual: actual_length as usize, data, packets, unlink: false }
            }
            other => panic!("a server sent {other:?}"),
        }
    }

    /// The reply to this request; others are kept.
    pub fn reply_to(&mut self, seqnum: u32) -> Reply {
        if let Some(at) = self.early.iter().position(|reply| reply.seqnum == seqnum) {
            return self.early.remove(at);
        }
        loop {
            let reply = self.next_reply();
            if reply.seqnum == seqnum {
                return reply;
            }
            self.early.push(reply);
        }
    }

    /// An IN transfer and its reply.
    pub fn read(&mut self, endpoint: u8, length: usize) -> Reply {
        let seqnum = self.submit_in(endpoint, length);
        self.reply_to(seqnum)
    }

    /// An OUT transfer and its reply.
    pub fn write(&mut self, endpoint: u8, data: &[u8]) -> Reply {
        let seqnum = self.submit_out(endpoint, data);
        self.reply_to(seqnum)
    }

    /// A control transfer and its reply.
    pub fn control(&mut self, request_type: u8, request: u8, value: u16, index: u16, data: Data<'_>) -> Reply {
        let (length, out) = match data {
            Data::In(length) => (length, &[][..]),
            Data::Out(out) => (out.len() as u16, out),
        };
        let mut setup = [request_type, request, 0, 0, 0, 0, 0, 0];
        for (field, word) in setup[2..].chunks_exact_mut(2).zip([value, index, length]) {
            field.copy_from_slice(&word.to_le_bytes());
        }
        let seqnum = self.submit_control(setup, out);
        self.reply_to(seqnum)
    }

    /// Reads from a serial port until this many lines are complete. The greeting after power-up, which comes or
    /// not as the machine is fast or slow, is left out.
    pub fn answers(&mut self, endpoint: u8, count: usize) -> Vec<String> {
        let mut text = String::new();
        loop {
            let lines: Vec<&str> = text.split_inclusive('\n').filter(|line| *line != "READY\n").collect();
            if lines.iter().filter(|line| line.ends_with('\n')).count() >= count {
                return lines.into_iter().map(|line| line.trim_end().to_owned()).collect();
            }
            let reply = self.read(endpoint, 512);
            assert_eq!(reply.status, 0);
            text += &String::from_utf8_lossy(&reply.data);
        }
    }

    /// Waits for the server to close the connection; replies on the way are dropped.
    pub fn wait_for_end(mut self) {
        let mut rest = Vec::new();
        // A reset is an end as good as any.
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
        }
    }
}

/// The data stage of a control transfer.
pub enum Data<'a> {
    In(u16),
    Out(&'a [u8]),
}

pub const NOTHING: Data<'static> = Data::Out(&[]);

pub fn read<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).expect("a reply in time");
    bytes
}

/// Byte `n` of gadget zero's pattern 1.
pub fn pattern(n: usize) -> u8 {
    (n % 512 % 63) as u8
}
