//! The key-value configuration: 100, 101, 102, 219.

use super::{Answer, Failure};
use crate::nameserver::kv::{KvConfig, KvError};
use crate::nameserver::kv_store::ChangeError;
use crate::nameserver::registry::Registry;
use crate::protocol::body;
use crate::protocol::body::table::KvTable;
use crate::protocol::code::response;
use crate::protocol::command::Command;
use crate::protocol::header::kv::{KvConfigRequest, KvConfigResponse, PutKvConfigRequest};
use crate::server::Conn;

/// PUT_KV_CONFIG (100). Answered when it is durable.
pub(super) fn put(registry: &Registry, conn: &Conn, request: &Command) -> Answer {
    let header = PutKvConfigRequest::decode(request)?;
    let (namespace, key, value) = (header.namespace.to_owned(), header.key.to_owned(), header.value.to_owned());
    change(registry, conn, request, move |config| config.put(&namespace, &key, &value))
}

/// DELETE_KV_CONFIG (102). Deleting what is not there succeeds.
pub(super) fn delete(registry: &Registry, conn: &Conn, request: &Command) -> Answer {
    let header = KvConfigRequest::decode(request)?;
    let (namespace, key) = (header.namespace.to_owned(), header.key.to_owned());
    change(registry, conn, request, move |config| {
        config.delete(&namespace, &key);
        Ok(())
    })
}

fn change(
    registry: &Registry,
    conn: &Conn,
    request: &Command,
    change: impl FnOnce(&mut KvConfig) -> Result<(), KvError> + Send + 'static,
) -> Answer {
    let conn = conn.clone();
    let oneway = request.is_oneway();
    let success = request.reply(response::SUCCESS, None);
    registry.kv.change(change, move |outcome| {
        let answer = match outcome {
            Ok(()) => success,
            Err(error) => Command { code: code_of(&error), remark: Some(error.to_string()), ..success },
        };
        if !oneway {
            // A connection that has closed meanwhile wants no answer.
            let _ = conn.send_command(&answer);
        }
    });
    Ok(None)
}

fn code_of(error: &ChangeError) -> i32 {
    match error {
        ChangeError::Busy { .. } => response::SYSTEM_BUSY,
        ChangeError::Kv(_) => response::SYSTEM_ERROR,
    }
}

/// GET_KV_CONFIG (101).
pub(super) fn get(registry: &Registry, request: &Command) -> Answer {
    let header = KvConfigRequest::decode(request)?;
    let config = registry.kv.config();
    let Some(value) = config.get(header.namespace, header.key) else {
        return Err(Failure {
            code: response::QUERY_NOT_FOUND,
            remark: format!("No config item, Namespace: {} Key: {}", header.namespace, header.key),
        });
    };
    let answer = KvConfigResponse { value: Some(value) };
    Ok(Some(request.reply(response::SUCCESS, None).with_ext(answer.encode())))
}

/// GET_KVLIST_BY_NAMESPACE (219).
pub(super) fn list(registry: &Registry, request: &Command) -> Answer {
    let namespace = request.ext.get("namespace").unwrap_or_default();
    let Some(table) = registry.kv.config().namespace(namespace).cloned() else {
        return Err(Failure {
            code: response::QUERY_NOT_FOUND,
            remark: format!("No config item, Namespace: {namespace}"),
        });
    };
    Ok(Some(request.reply(response::SUCCESS, None).with_body(body::encode(&KvTable { table }))))
}
