//! The key-value configuration as a plain value.

use crate::nameserver::kv::*;

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
