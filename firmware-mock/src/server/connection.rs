//! A connection before it has a device.
//!
//! One job: answer device lists and the import (USB/IP 1.1.1, `OP_REQ_DEVLIST` and `OP_REQ_IMPORT`). It refuses to
//! look at transfers.
//!
//! ```text
//!  open ──devlist──▶ answered ──▶ open
//!   └──import──▶ refused ──▶ open
//!         └────▶ imported: session
//! ```

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::{debug, info, warn};
use usbip_wire::{BUSID_LEN, OP_HEADER_LEN, OpCode, OpHeader, decode_busid};

use super::hub::{Hub, Lease, Refusal};
use super::session::{self, End};

/// Serves one client until it goes.
pub(super) async fn run(mut stream: TcpStream, hub: Arc<Hub>) {
    let peer = stream.peer_addr().map_or_else(|_| "a client".to_owned(), |peer| peer.to_string());
    // Replies are gathered before they are written; holding them back longer only adds latency.
    let _ = stream.set_nodelay(true);
    match negotiate(&mut stream, &hub).await {
        Ok(Some(lease)) => {
            let busid = lease.record.busid.clone();
            info!("{peer} imported {busid}");
            match session::run(stream, lease, hub.latency.clone()).await {
                end @ (End::Closed | End::Left) => info!("{peer} gave {busid} back: {end}"),
                end => warn!("connection of {peer} to {busid} ended: {end}"),
            }
        }
        Ok(None) => debug!("{peer} went without a device"),
        Err(error) => warn!("connection of {peer} ended: {error}"),
    }
}

/// Answers operations until one of them is an import that succeeds.
async fn negotiate(stream: &mut TcpStream, hub: &Hub) -> io::Result<Option<Lease>> {
    loop {
        let mut header = [0; OP_HEADER_LEN];
        match stream.read_exact(&mut header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            result => result?,
        };
        let code = OpHeader::decode(&header).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?.code;
        // Question and answer take turns here, so that both ways can be waited for at once.
        tokio::time::sleep(2 * hub.latency.get()).await;
        match code {
            OpCode::ReqDevlist => stream.write_all(&devlist(hub)).await?,
            OpCode::ReqImport => {
                let mut busid = [0; BUSID_LEN];
                stream.read_exact(&mut busid).await?;
                let lease = hub.lend(&decode_busid(&busid)).await;
                stream.write_all(&import_reply(&lease)).await?;
                if let Ok(lease) = lease {
                    return Ok(Some(lease));
                }
            }
            OpCode::RepDevlist | OpCode::RepImport => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a reply was sent to the server"));
            }
        }
    }
}

fn devlist(hub: &Hub) -> Vec<u8> {
    let records = hub.records();
    let mut reply = OpHeader { code: OpCode::RepDevlist, status: 0 }.encode().to_vec();
    reply.extend((records.len() as u32).to_be_bytes());
    for (record, interfaces) in records {
        reply.extend(record.encode());
        reply.extend(interfaces.iter().flat_map(|interface| interface.encode()));
    }
    reply
}

fn import_reply(lease: &Result<Lease, Refusal>) -> Vec<u8> {
    let status = match lease {
        Ok(_) => 0,
        Err(Refusal::Cut) => 1,
        Err(Refusal::Busy) => 2,
        Err(Refusal::NoDevice) => 4,
    };
    let mut reply = OpHeader { code: OpCode::RepImport, status }.encode().to_vec();
    if let Ok(lease) = lease {
        reply.extend(lease.record.encode());
    }
    reply
}
