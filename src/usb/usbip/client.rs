//! The part of USB/IP before URBs: the list of exported devices, and taking one of them.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use usbip_wire::{
    DEVICE_RECORD_LEN, DeviceRecord, INTERFACE_RECORD_LEN, InterfaceRecord, OP_HEADER_LEN, OpCode, OpHeader,
    encode_busid,
};

use crate::selector::Remote;
use crate::usb::OpenError;

/// A device that a server exports.
#[derive(Debug, Clone)]
pub struct Exported {
    /// What the server says of the device.
    pub device: DeviceRecord,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceRecord>,
}

/// Asks a server for the devices it exports; `remote.busid` plays no part.
///
/// # Errors
/// [`OpenError::Unreachable`], or [`OpenError::Protocol`] when the answer is no device list.
pub async fn list(remote: &Remote) -> Result<Vec<Exported>, OpenError> {
    with_timeout(remote, list_within(remote)).await
}

async fn list_within(remote: &Remote) -> Result<Vec<Exported>, OpenError> {
    let mut stream = connect(remote).await?;
    let broken = |e: io::Error| unreachable(remote, e);
    let request = OpHeader { code: OpCode::ReqDevlist, status: 0 }.encode();
    stream.write_all(&request).await.map_err(broken)?;
    let header = read_header(&mut stream, remote, OpCode::RepDevlist).await?;
    if header.status != 0 {
        return Err(OpenError::Protocol(format!("{} refused to list its devices", place(remote))));
    }
    let count = stream.read_u32().await.map_err(broken)?;
    if count > MAX_DEVICES {
        return Err(OpenError::Protocol(format!("{} claims to export {count} devices", place(remote))));
    }
    let mut devices = Vec::new();
    for _ in 0..count {
        let mut record = [0; DEVICE_RECORD_LEN];
        stream.read_exact(&mut record).await.map_err(broken)?;
        let device = DeviceRecord::decode(&record);
        let mut interfaces = Vec::new();
        for _ in 0..device.num_interfaces {
            let mut record = [0; INTERFACE_RECORD_LEN];
            stream.read_exact(&mut record).await.map_err(broken)?;
            interfaces.push(InterfaceRecord::decode(&record));
        }
        devices.push(Exported { device, interfaces });
    }
    Ok(devices)
}

/// Takes the device `busid`; the stream then carries URBs.
pub(super) async fn import(remote: &Remote, busid: &str) -> Result<(TcpStream, DeviceRecord), OpenError> {
    with_timeout(remote, import_within(remote, busid)).await
}

async fn import_within(remote: &Remote, busid: &str) -> Result<(TcpStream, DeviceRecord), OpenError> {
    let mut stream = connect(remote).await?;
    let broken = |e: io::Error| unreachable(remote, e);
    let mut request = OpHeader { code: OpCode::ReqImport, status: 0 }.encode().to_vec();
    request.extend(encode_busid(busid));
    stream.write_all(&request).await.map_err(broken)?;
    let header = read_header(&mut stream, remote, OpCode::RepImport).await?;
    match header.status {
        0 => {}
        2 => return Err(OpenError::Busy(format!("device {busid} of {} is used by another client", place(remote)))),
        _ => {
            let text =
                format!("{} does not export a device {busid} (usbpipe list --remote shows what it has)", place(remote));
            return Err(OpenError::NotFound(text));
        }
    }
    let mut record = [0; DEVICE_RECORD_LEN];
    stream.read_exact(&mut record).await.map_err(broken)?;
    Ok((stream, DeviceRecord::decode(&record)))
}

async fn connect(remote: &Remote) -> Result<TcpStream, OpenError> {
    let broken = |e: io::Error| unreachable(remote, e);
    let stream = TcpStream::connect((remote.host.as_str(), remote.port)).await.map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    // A peer that vanished without a word is found by the kernel, which wakes nobody for it.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(broken)?;
    Ok(stream)
}

async fn read_header(stream: &mut TcpStream, remote: &Remote, expected: OpCode) -> Result<OpHeader, OpenError> {
    let mut bytes = [0; OP_HEADER_LEN];
    stream.read_exact(&mut bytes).await.map_err(|e| unreachable(remote, e))?;
    let header = OpHeader::decode(&bytes)
        .map_err(|e| OpenError::Protocol(format!("{} does not speak USB/IP 1.1.1: {e}", place(remote))))?;
    if header.code != expected {
        return Err(OpenError::Protocol(format!("{} answered with another operation than asked", place(remote))));
    }
    Ok(header)
}

async fn with_timeout<T>(remote: &Remote, work: impl Future<Output = Result<T, OpenError>>) -> Result<T, OpenError> {
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, work).await {
        Ok(result) => result,
        Err(_) => Err(unreachable(remote, io::ErrorKind::TimedOut.into())),
    }
}

fn unreachable(remote: &Remote, cause: io::Error) -> OpenError {
    OpenError::Unreachable(format!("no USB/IP server answers at {}", place(remote)), cause)
}

fn place(remote: &Remote) -> String {
    format!("{}:{}", remote.host, remote.port)
}

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE_AFTER: Duration = Duration::from_secs(20);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// More than 128 controllers of 15 ports can hold.
const MAX_DEVICES: u32 = 4096;
