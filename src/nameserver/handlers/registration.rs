//! Brokers: 103, 104, 322.

use tracing::info;

use super::{Answer, Failure, Session, done};
use crate::nameserver::kv::ORDER_TOPIC_CONFIG;
use crate::nameserver::registry::Registry;
use crate::nameserver::route_table::{Asked, Registered, Registration, Removed, TableVersion, TopicQueues};
use crate::protocol::body;
use crate::protocol::body::registration::RegisterBrokerBody;
use crate::protocol::body::table::{DataVersion, KvTable};
use crate::protocol::body::topic::TopicConfig;
use crate::protocol::code::response;
use crate::protocol::command::Command;
use crate::protocol::header::registration::{
    BrokerIdentityRequest, QueryDataVersionResponse, RegisterBrokerRequest, RegisterBrokerResponse,
};
use crate::server::Conn;

/// Ours, optional: the identity of the sender's Raft group, so that two groups cannot share a brokerName.
const GROUP_UUID: &str = "groupUuid";

/// REGISTER_BROKER (103).
pub(super) fn register(registry: &Registry, session: &mut Session, conn: &Conn, request: &Command) -> Answer {
    let header = RegisterBrokerRequest::decode(request)?;
    let registration = read(&header, conn, request)?;
    let (group, addr, broker_id) = (header.broker_name, header.broker_addr, header.broker_id);
    let term = registration.term;
    let topics = registration.topics.len();
    let outcome = registry.routes_mut().register(registration, registry.now_ms());
    let Registered { master, changed, displaced } = outcome.map_err(|refusal| {
        info!(%group, %addr, broker_id, term, %refusal, "registration refused");
        Failure { code: response::SYSTEM_ERROR, remark: refusal.to_string() }
    })?;
    session.registered = true;
    if changed {
        info!(%group, %addr, broker_id, term, topics, ?displaced, "broker registered");
    }
    let answer = RegisterBrokerResponse {
        ha_server_addr: master.as_ref().map(|master| master.ha_addr.as_str()),
        master_addr: master.as_ref().map(|master| master.addr.as_str()),
    };
    let reply = request.reply(response::SUCCESS, None).with_ext(answer.encode());
    let order = registry.kv.config().namespace(ORDER_TOPIC_CONFIG).filter(|table| !table.is_empty()).cloned();
    Ok(Some(match order {
        Some(table) => reply.with_body(body::encode(&KvTable { table })),
        None => reply,
    }))
}

fn read(header: &RegisterBrokerRequest<'_>, conn: &Conn, request: &Command) -> Result<Registration, Failure> {
    if [header.broker_name, header.broker_addr, header.cluster_name].contains(&"") {
        let remark = "brokerName, brokerAddr and clusterName of a registration must not be empty".to_owned();
        return Err(Failure { code: response::SYSTEM_ERROR, remark });
    }
    let body = if request.body.is_empty() {
        // A broker without topics.
        RegisterBrokerBody::default()
    } else {
        RegisterBrokerBody::decode(&request.body, header.compressed == Some(true), header.body_crc32)?
    };
    let wrapper = body.topic_config_serialize_wrapper;
    Ok(Registration {
        cluster: header.cluster_name.to_owned(),
        group: header.broker_name.to_owned(),
        addr: header.broker_addr.to_owned(),
        ha_addr: header.ha_server_addr.to_owned(),
        broker_id: header.broker_id,
        term: term(header.raft_term),
        group_uuid: request.ext.get(GROUP_UUID).filter(|uuid| !uuid.is_empty()).map(str::to_owned),
        version: version(wrapper.data_version),
        topics: wrapper.topic_config_table.into_iter().map(|(topic, config)| (topic, queues(&config))).collect(),
        conn: conn.id(),
    })
}

/// A negative term is none.
fn term(raft_term: Option<i64>) -> Option<u64> {
    raft_term.and_then(|term| u64::try_from(term).ok())
}

fn version(version: DataVersion) -> TableVersion {
    let DataVersion { counter, state_version, timestamp } = version;
    TableVersion { state_version, counter, timestamp }
}

fn queues(config: &TopicConfig) -> TopicQueues {
    TopicQueues {
        read_queue_nums: config.read_queue_nums,
        write_queue_nums: config.write_queue_nums,
        perm: config.perm,
        topic_sys_flag: config.topic_sys_flag,
    }
}

/// UNREGISTER_BROKER (104). Taking out what is not there succeeds.
pub(super) fn unregister(registry: &Registry, request: &Command) -> Answer {
    let header = BrokerIdentityRequest::decode(request)?;
    let now_ms = registry.now_ms();
    let removed = registry.routes_mut().unregister(header.broker_name, header.broker_addr, now_ms);
    if let Some(Removed { group, addr, broker_id }) = removed {
        info!(%group, %addr, broker_id, "broker unregistered");
    }
    done(request)
}

/// QUERY_DATA_VERSION (322): whether the broker must send its topics again.
pub(super) fn query(registry: &Registry, session: &mut Session, conn: &Conn, request: &Command) -> Answer {
    let header = BrokerIdentityRequest::decode(request)?;
    let asked = Asked {
        group: header.broker_name,
        addr: header.broker_addr,
        broker_id: header.broker_id,
        term: term(header.raft_term),
        version: version(body::decode(&request.body)?),
        conn: conn.id(),
    };
    let changed = registry.routes_mut().query(&asked, registry.now_ms());
    // Unchanged, the registration now lives and dies with this connection.
    session.registered |= !changed;
    let answer = QueryDataVersionResponse { changed };
    Ok(Some(request.reply(response::SUCCESS, None).with_ext(answer.encode())))
}
