//! What brokers of a group say to each other.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use quorumq_raft::codec::{self, CodecError};
use serde::{Deserialize, Serialize};

/// Header of a call; frames follow it raw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// `count` remoting frames of a client, to be handled by the leader; answered by their responses back to back.
    Forward { client: SocketAddr, count: u32 },
    /// The clients of a node, all of them: to the leader.
    Sessions(Vec<ClientSession>),
    /// Consumer groups whose members changed: from the leader.
    Notify(Vec<String>),
    /// A group's subscriptions as the leader knows them.
    Subscriptions { group: String },
}

/// One client's membership in its groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSession {
    pub client_id: String,
    /// Consumer groups and the body of each group's last heartbeat entry, as JSON.
    pub consumers: Vec<(String, String)>,
    /// Producer groups.
    pub producers: Vec<String>,
}

/// Encodes a call and the raw bytes behind it.
///
/// # Errors
/// The header does not encode, which is a bug.
pub fn encode(call: &Call, raw: &[u8]) -> Result<Bytes, CodecError> {
    let header = codec::encode(call)?;
    let mut out = BytesMut::with_capacity(4 + header.len() + raw.len());
    out.put_u32(u32::try_from(header.len()).unwrap_or(u32::MAX));
    out.put_slice(&header);
    out.put_slice(raw);
    Ok(out.freeze())
}

/// Decodes a call and the raw bytes behind it.
///
/// # Errors
/// Cut short, or a header of another version.
pub fn decode(mut bytes: Bytes) -> Result<(Call, Bytes), CodecError> {
    let short = || CodecError::Bytes("the call is cut short".to_owned());
    let len = bytes.first_chunk::<4>().map(|len| u32::from_be_bytes(*len) as usize).ok_or_else(short)?;
    if bytes.len() < 4 + len {
        return Err(short());
    }
    let raw = bytes.split_off(4 + len);
    Ok((codec::decode(&bytes[4..])?, raw))
}
