//! The key-value configuration: as a plain value, on a failing disk, over a restart.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quorumq_raft::runtime::tokio::Tokio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fragile_disk::FragileDisk;
use crate::nameserver::kv::*;
use crate::nameserver::{NameServer, NameServerOptions};
use crate::protocol::command::{Command, Encoding};
use crate::protocol::frame;

#[test]
fn values_are_set_replaced_and_deleted() {
    let mut config = KvConfig::default();
    config.put("ns", "k", "1").unwrap();
    config.put("ns", "k", "2").unwrap();
    assert_eq!(config.get("ns", "k"), Some("2"));
    assert_eq!(config.get("other", "k"), None);
    assert!(config.delete("ns", "k"));
    assert!(!config.delete("ns", "k"));
    assert_eq!(config.get("ns", "k"), None);
}

#[test]
fn the_file_has_the_form_of_rocketmqs() {
    let mut config = KvConfig::default();
    config.put("ORDER_TOPIC_CONFIG", "T", "g0:4").unwrap();
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(json, r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"g0:4"}}}"#);
    assert_eq!(serde_json::from_str::<KvConfig>(&json).unwrap(), config);
}

#[test]
fn limits_refuse_and_change_nothing() {
    let mut config = KvConfig::default();
    assert!(config.put("", "k", "v").is_err());
    assert!(config.put("ns", &"k".repeat(MAX_KEY + 1), "v").is_err());
    assert!(config.put("ns", "k", &"v".repeat(MAX_VALUE + 1)).is_err());
    assert_eq!(config, KvConfig::default());
    for i in 0..MAX_ENTRIES {
        config.put("ns", &i.to_string(), "").unwrap();
    }
    assert!(matches!(config.put("ns", "more", "v"), Err(KvError::TooMany { .. })));
    config.put("ns", "0", "replaced").unwrap();
}

fn one_key(value: &str) -> KvConfig {
    let mut config = KvConfig::default();
    config.put("ns", "k", value).unwrap();
    config
}

#[test]
fn a_save_that_fails_at_any_call_leaves_the_old_file_or_the_new_one() {
    let mut outcomes = (0, 0);
    for fail_after in 0.. {
        let disk = Arc::new(FragileDisk::new());
        let file = KvFile::new(disk.clone(), "/ns/kvConfig.json".into());
        assert_eq!(file.load().unwrap(), KvConfig::default());
        file.save(&one_key("old")).unwrap();
        disk.fail_after(fail_after);
        let saved = file.save(&one_key("new, and longer than the old one"));
        disk.heal();
        let loaded = file.load().unwrap();
        match &saved {
            Ok(()) => assert_eq!(loaded, one_key("new, and longer than the old one")),
            Err(error) => {
                assert!(error.to_string().contains("/ns"), "{error}");
                assert!(loaded == one_key("old") || loaded == one_key("new, and longer than the old one"));
                outcomes.0 += 1;
            }
        }
        // What a failed save left behind is no obstacle to the next one.
        file.save(&one_key("next")).unwrap();
        assert_eq!(file.load().unwrap(), one_key("next"));
        if saved.is_ok() {
            outcomes.1 += 1;
            break;
        }
    }
    assert!(outcomes.0 >= 6 && outcomes.1 == 1, "{outcomes:?}");
}

#[test]
fn a_damaged_file_is_an_error_that_names_it_and_the_way_out() {
    let disk = Arc::new(FragileDisk::new());
    disk.put("/ns/kvConfig.json", b"{\"configTable\":");
    let error = KvFile::new(disk, "/ns/kvConfig.json".into()).load().unwrap_err().to_string();
    assert!(error.contains("/ns/kvConfig.json") && error.contains("move it away"), "{error}");
}

fn options(disk: &Arc<FragileDisk>) -> NameServerOptions {
    let kv = Some(KvFile::new(disk.clone(), "/ns/kvConfig.json".into()));
    NameServerOptions { kv, ..NameServerOptions::new(SocketAddr::from(([127, 0, 0, 1], 0))) }
}

async fn call(server: &NameServer, code: i32, ext: &[(&str, &str)]) -> Command {
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let request = Command::request(Encoding::Json, code, ext.iter().copied().collect(), Bytes::new());
    let mut buf = BytesMut::new();
    frame::encode(&request, &mut buf);
    stream.write_all(&buf).await.unwrap();
    buf.clear();
    loop {
        if let Some(answer) = frame::decode(&mut buf).unwrap() {
            return answer;
        }
        assert!(stream.read_buf(&mut buf).await.unwrap() > 0, "closed instead of an answer");
    }
}

const PUT: [(&str, &str); 3] = [("namespace", "ns"), ("key", "k"), ("value", "v")];

#[tokio::test]
async fn key_values_survive_a_restart() {
    let disk = Arc::new(FragileDisk::new());
    let server = NameServer::start::<Tokio>(options(&disk)).await.unwrap();
    assert_eq!(call(&server, 100, &PUT).await.code, 0);
    server.shutdown::<Tokio>().await;
    let server = NameServer::start::<Tokio>(options(&disk)).await.unwrap();
    assert_eq!(call(&server, 101, &PUT[..2]).await.ext.get("value"), Some("v"));
    assert_eq!(call(&server, 102, &PUT[..2]).await.code, 0);
    server.shutdown::<Tokio>().await;
    let server = NameServer::start::<Tokio>(options(&disk)).await.unwrap();
    assert_eq!(call(&server, 101, &PUT[..2]).await.code, 22);
}

#[tokio::test]
async fn a_change_that_cannot_be_saved_is_refused_and_not_seen() {
    let disk = Arc::new(FragileDisk::new());
    let server = NameServer::start::<Tokio>(options(&disk)).await.unwrap();
    disk.fail_after(0);
    let refused = call(&server, 100, &PUT).await;
    assert_eq!(refused.code, 1);
    assert!(refused.remark.unwrap().contains("the disk has failed"));
    assert_eq!(call(&server, 101, &PUT[..2]).await.code, 22);
    disk.heal();
    assert_eq!(call(&server, 100, &PUT).await.code, 0);
    assert_eq!(call(&server, 101, &PUT[..2]).await.ext.get("value"), Some("v"));
}
