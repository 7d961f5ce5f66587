//! One file per family of request codes. A handler turns a request into its answer.

mod cluster;
mod kv;
mod registration;
mod route;
mod topic;

use tracing::debug;

use super::registry::Registry;
use crate::protocol::body::BodyError;
use crate::protocol::code::{request, response};
use crate::protocol::command::Command;
use crate::protocol::header::HeaderError;
use crate::server::Conn;

/// What the NameServer keeps per connection.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Whether a broker registered on it: only then does its end matter.
    pub(super) registered: bool,
}

/// An answer now; `None` if it follows later, or the answer's code with a remark.
type Answer = Result<Option<Command>, Failure>;

/// A request that fails: the response's code and remark.
struct Failure {
    code: i32,
    remark: String,
}

impl From<HeaderError> for Failure {
    fn from(error: HeaderError) -> Self {
        Self { code: response::SYSTEM_ERROR, remark: error.to_string() }
    }
}

impl From<BodyError> for Failure {
    fn from(error: BodyError) -> Self {
        Self { code: response::SYSTEM_ERROR, remark: error.to_string() }
    }
}

/// Answers `request`; `None` if a handler answers later.
pub(super) fn handle(registry: &Registry, session: &mut Session, conn: &Conn, request: &Command) -> Option<Command> {
    let answer = match request.code {
        request::GET_ROUTEINFO_BY_TOPIC => route::by_topic(registry, request),
        request::REGISTER_BROKER => registration::register(registry, session, conn, request),
        request::UNREGISTER_BROKER => registration::unregister(registry, request),
        request::QUERY_DATA_VERSION => registration::query(registry, session, conn, request),
        request::GET_BROKER_CLUSTER_INFO => cluster::info(registry, request),
        request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => topic::list(registry, request),
        topic::GET_TOPICS_BY_CLUSTER => topic::list_of_cluster(registry, request),
        topic::GET_SYSTEM_TOPIC_LIST_FROM_NS => topic::list_of_system(registry, request),
        request::DELETE_TOPIC_IN_NAMESRV => topic::delete(registry, request),
        request::PUT_KV_CONFIG => kv::put(registry, conn, request),
        request::GET_KV_CONFIG => kv::get(registry, request),
        request::DELETE_KV_CONFIG => kv::delete(registry, conn, request),
        request::GET_KVLIST_BY_NAMESPACE => kv::list(registry, request),
        code => Err(Failure {
            code: response::REQUEST_CODE_NOT_SUPPORTED,
            // RocketMQ's words, its leading space included.
            remark: format!(" request type {code} not supported"),
        }),
    };
    answer.unwrap_or_else(|Failure { code, remark }| {
        debug!(peer = %conn.peer(), request = request.code, code, remark, "request refused");
        Some(request.reply(code, Some(remark)))
    })
}

/// Success with an empty answer.
fn done(request: &Command) -> Answer {
    Ok(Some(request.reply(response::SUCCESS, None)))
}
