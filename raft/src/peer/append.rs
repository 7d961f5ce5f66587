//! Appends on the wire: openraft's requests as a header and raw bodies, and back.

use std::io;

use bytes::Bytes;
use openraft::raft::AppendEntriesRequest;
use quorumq_store::frame::Kind;

use super::codec::Frame;
use crate::machine::Machine;
use crate::runtime::Runtime;
use crate::types::{Payload, RaftEntryOf, Types};
use crate::wire::{WireAppend, WireEntry, decode_membership};

/// A request's header and its raw bodies.
///
/// # Errors
/// A body too long for the wire, which the proposer's limits rule out.
pub fn to_wire<R: Runtime, M: Machine>(
    req: &AppendEntriesRequest<Types<R, M>>,
) -> io::Result<(WireAppend, Vec<Bytes>)> {
    let mut header = WireAppend::heartbeat(req);
    let mut raw = Vec::with_capacity(req.entries.len());
    for entry in &req.entries {
        let (kind, body) = payload_parts(&entry.payload);
        let len = u32::try_from(body.len()).map_err(io::Error::other)?;
        header.entries.push(WireEntry { id: entry.id.into(), kind: kind as u8, len, crc: crc32fast::hash(&body) });
        raw.push(body);
    }
    Ok((header, raw))
}

/// A request from its frame. Bodies are slices of the frame.
///
/// # Errors
/// Lengths, CRCs or kinds that do not check: the connection is of no use any more.
pub fn from_wire<R: Runtime, M: Machine>(frame: Frame<WireAppend>) -> io::Result<AppendEntriesRequest<Types<R, M>>> {
    let Frame { header, mut raw } = frame;
    let mut entries = Vec::with_capacity(header.entries.len());
    for wire in &header.entries {
        let len = wire.len as usize;
        if len > raw.len() {
            return Err(bad("append is shorter than its header says"));
        }
        let body = raw.split_to(len);
        if crc32fast::hash(&body) != wire.crc {
            return Err(bad("entry body CRC does not match"));
        }
        let kind = Kind::from_u8(wire.kind).ok_or_else(|| bad("unknown entry kind"))?;
        entries.push(RaftEntryOf::received(wire.id.into(), payload_from(kind, body)?));
    }
    if !raw.is_empty() {
        return Err(bad("append is longer than its header says"));
    }
    Ok(AppendEntriesRequest {
        vote: header.vote.into(),
        prev_log_id: header.prev.map(Into::into),
        entries,
        leader_commit: header.commit.map(Into::into),
    })
}

/// The frame kind and body of a payload.
pub fn payload_parts(payload: &Payload) -> (Kind, Bytes) {
    match payload {
        Payload::Blank => (Kind::Blank, Bytes::new()),
        Payload::Members { body, .. } => (Kind::Membership, body.clone()),
        Payload::Data { kind, body } => (*kind, body.clone()),
    }
}

/// A payload from its frame kind and body.
///
/// # Errors
/// A membership that does not decode, or a filler, which is no entry.
pub fn payload_from(kind: Kind, body: Bytes) -> io::Result<Payload> {
    match kind {
        Kind::Blank => Ok(Payload::Blank),
        Kind::Membership => {
            let members = decode_membership(&body).map_err(io::Error::other)?;
            Ok(Payload::Members { members, body })
        }
        Kind::Records | Kind::Command => Ok(Payload::Data { kind, body }),
        Kind::Filler => Err(bad("a filler is no entry")),
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
