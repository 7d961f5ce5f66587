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
    /// The clients of a node: to the leader. Answered by a [`Verdict`].
    Sessions(Report),
    /// Consumer groups whose members changed: from the leader.
    Notify(Vec<String>),
    /// A group's subscriptions as the leader knows them.
    Subscriptions { group: String },
}

/// What a node tells the leader of its clients: all of them first, then what changed, report by report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Random number of the reporting broker's life: after a restart its reports are counted anew.
    pub life: u64,
    /// Counts the reports of that life; one follows the other without a gap.
    pub number: u64,
    /// Begins a list of all clients. Those it does not name by the first report without `more` are gone.
    pub full: bool,
    /// The next report goes on with what did not fit into this one.
    pub more: bool,
    /// Clients that came or changed, as they are now.
    pub clients: Vec<ClientSession>,
    /// Clients that are gone.
    pub gone: Vec<String>,
}

/// What the leader says to a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts, and the groups it names exist.
    Taken,
    /// A report is missing: begin again with all clients.
    BeginAgain,
    /// The node asked does not lead.
    NotLeading,
}

impl Verdict {
    /// The answer to [`Call::Sessions`].
    pub fn encode(self) -> Bytes {
        Bytes::from_static(match self {
            Self::Taken => b"\0",
            Self::BeginAgain => b"\x01",
            Self::NotLeading => b"\x02",
        })
    }

    /// `None` if it is no verdict: the node asked is stopping, or did not understand.
    pub fn decode(answer: &[u8]) -> Option<Self> {
        match answer {
            b"\0" => Some(Self::Taken),
            b"\x01" => Some(Self::BeginAgain),
            b"\x02" => Some(Self::NotLeading),
            _ => None,
        }
    }
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
