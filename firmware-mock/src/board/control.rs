//! Control transfers, packet by packet.
//!
//! One job: play the host in the three stages of a control transfer (USB 2.0 section 8.5.3). It refuses to wait:
//! firmware that does not answer within its turn has stalled.
//!
//! ```text
//!  setup ──▶ data IN, packets until a short one or wLength ──▶ status OUT
//!        ──▶ data OUT, packets of 64 ──▶ status IN
//!        ──▶ status IN
//!  each stage ──endpoint 0 stalled, or no answer──▶ stall
//! ```

use super::Board;
use crate::function::{Control, Setup};

/// Runs one control transfer on the board's endpoint 0.
pub(super) fn transfer(board: &mut Board, setup: Setup, data: &[u8]) -> Control {
    board.wire.put_setup(&setup.encode());
    board.turn();
    if board.wire.withdraw(0) {
        return Control::Stall;
    }
    let result = if setup.is_in() { data_in(board, setup.length.into()) } else { data_out(board, data) };
    result.map_or(Control::Stall, Control::Done)
}

fn data_in(board: &mut Board, max: usize) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        if stalled(board) {
            return None;
        }
        let len = board.wire.take_in(0x80, &mut data)?;
        board.turn();
        if len < CONTROL_PACKET || data.len() >= max {
            break;
        }
    }
    // What the firmware has ready beyond wLength is nobody's.
    board.wire.take_in(0x80, &mut Vec::new());
    board.wire.put_out(0, &[]);
    board.turn();
    board.wire.withdraw(0);
    data.truncate(max);
    Some(data)
}

fn data_out(board: &mut Board, data: &[u8]) -> Option<Vec<u8>> {
    for packet in data.chunks(CONTROL_PACKET) {
        if stalled(board) {
            return None;
        }
        board.wire.put_out(0, packet);
        board.turn();
        if board.wire.withdraw(0) {
            return None;
        }
    }
    if stalled(board) {
        return None;
    }
    board.wire.take_in(0x80, &mut Vec::new())?;
    board.turn();
    Some(Vec::new())
}

fn stalled(board: &Board) -> bool {
    board.wire.stalled(0x00) || board.wire.stalled(0x80)
}

/// bMaxPacketSize0 of every board.
const CONTROL_PACKET: usize = 64;
