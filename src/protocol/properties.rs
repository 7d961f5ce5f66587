//! The properties string of a message: `name \x01 value` joined by `\x02`. Some clients end it with a separator
//! (clients.md 3.11); nothing here minds, and nothing here writes one.

use std::borrow::Cow;

use bytes::BufMut;

/// Between a name and its value.
pub const NAME_VALUE_SEPARATOR: char = '\x01';
/// Between two properties.
pub const PROPERTY_SEPARATOR: char = '\x02';

/// Names of properties (MessageConst.java).
pub mod name {
    pub const KEYS: &str = "KEYS";
    pub const TAGS: &str = "TAGS";
    /// Whether the producer waits for the store; dropped from single sends (formats.md section 4).
    pub const WAIT: &str = "WAIT";
    /// Delay level, 1..18.
    pub const DELAY: &str = "DELAY";
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    pub const REAL_QID: &str = "REAL_QID";
    /// "true" marks a half message.
    pub const TRAN_MSG: &str = "TRAN_MSG";
    /// Producer group of a half message.
    pub const PGROUP: &str = "PGROUP";
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    pub const RECONSUME_TIME: &str = "RECONSUME_TIME";
    pub const MAX_RECONSUME_TIMES: &str = "MAX_RECONSUME_TIMES";
    pub const MSG_REGION: &str = "MSG_REGION";
    pub const TRACE_ON: &str = "TRACE_ON";
    /// The id a producer gives a message, 32 hex digits as a rule.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    pub const CHECK_IMMUNITY_TIME_IN_SECONDS: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    pub const TRANSACTION_ID: &str = "__transactionId__";
    pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
    pub const INSTANCE_ID: &str = "INSTANCE_ID";
    pub const CORRELATION_ID: &str = "CORRELATION_ID";
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    pub const TTL: &str = "TTL";
    /// Added by the broker: the cluster that stored the message.
    pub const CLUSTER: &str = "CLUSTER";
    pub const MSG_TYPE: &str = "MSG_TYPE";
    pub const SHARDING_KEY: &str = "__SHARDINGKEY";
    pub const INNER_MULTI_DISPATCH: &str = "INNER_MULTI_DISPATCH";
    /// What every property of a timed message begins with.
    pub const TIMER_PREFIX: &str = "TIMER_";
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
}

/// The properties in their order. A piece without a separator is skipped, as in Java.
pub fn iter(properties: &str) -> impl DoubleEndedIterator<Item = (&str, &str)> {
    properties.split(PROPERTY_SEPARATOR).filter_map(|pair| pair.split_once(NAME_VALUE_SEPARATOR))
}

/// The value of `name`; the last one if it is repeated, as in a Java map.
pub fn get<'p>(properties: &'p str, name: &str) -> Option<&'p str> {
    iter(properties).rev().find(|(found, _)| *found == name).map(|(_, value)| value)
}

/// The string without `name`; borrowed when it holds none.
pub fn without<'p>(properties: &'p str, name: &str) -> Cow<'p, str> {
    if get(properties, name).is_none() {
        return Cow::Borrowed(properties);
    }
    Cow::Owned(join(iter(properties).filter(|(found, _)| *found != name)))
}

/// The string with `name` set to `value`, at the end.
pub fn with(properties: &str, name: &str, value: &str) -> String {
    join(iter(properties).filter(|(found, _)| *found != name).chain([(name, value)]))
}

/// Joins properties to a string.
pub fn join<'p>(properties: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out);
    for (name, value) in properties {
        writer.put(name, value);
    }
    match String::from_utf8(out) {
        Ok(joined) => joined,
        Err(_) => unreachable!("strings and ASCII separators make UTF-8"),
    }
}

/// Writes a properties string into a buffer, pair by pair: how the broker adds and drops properties while it copies
/// them into the record.
#[derive(Debug)]
pub struct Writer<'b, B: BufMut> {
    out: &'b mut B,
    first: bool,
}

impl<'b, B: BufMut> Writer<'b, B> {
    /// Writes at the end of `out`.
    pub fn new(out: &'b mut B) -> Self {
        Self { out, first: true }
    }

    /// Adds one property.
    pub fn put(&mut self, name: &str, value: &str) {
        if !self.first {
            self.out.put_u8(PROPERTY_SEPARATOR as u8);
        }
        self.first = false;
        self.out.put_slice(name.as_bytes());
        self.out.put_u8(NAME_VALUE_SEPARATOR as u8);
        self.out.put_slice(value.as_bytes());
    }

    /// Adds the properties of a string except those with a name in `dropped`.
    pub fn put_all_but(&mut self, properties: &str, dropped: &[&str]) {
        for (name, value) in iter(properties) {
            if !dropped.contains(&name) {
                self.put(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "KEYS\x01k1\x02WAIT\x01true\x02TAGS\x01A";

    #[test]
    fn a_trailing_separator_changes_nothing() {
        let trailing = format!("{SENT}\x02");
        assert!(iter(&trailing).eq(iter(SENT)));
        assert_eq!(with(&trailing, "CLUSTER", "c"), with(SENT, "CLUSTER", "c"));
    }

    #[test]
    fn properties_are_found_replaced_and_dropped() {
        assert_eq!(get(SENT, name::WAIT), Some("true"));
        assert_eq!(get(SENT, "AG"), None);
        assert_eq!(get("A\x011\x02A\x012", "A"), Some("2"));
        assert_eq!(get("A\x01", "A"), Some(""));
        assert_eq!(get("A\x01b\x01c", "A"), Some("b\x01c"));
        assert_eq!(get("novalue\x02A\x011", "novalue"), None);
        assert_eq!(without(SENT, name::WAIT), "KEYS\x01k1\x02TAGS\x01A");
        assert!(matches!(without(SENT, "absent"), Cow::Borrowed(SENT)));
        assert_eq!(with(SENT, "KEYS", "k2"), "WAIT\x01true\x02TAGS\x01A\x02KEYS\x01k2");
        assert_eq!(with("", "A", "1"), "A\x011");
        assert_eq!(join([]), "");
    }

    #[test]
    fn the_writer_drops_and_adds_while_it_copies() {
        let mut out = b"before".to_vec();
        let mut writer = Writer::new(&mut out);
        writer.put_all_but(SENT, &[name::WAIT]);
        writer.put(name::CLUSTER, "RaftCluster");
        assert_eq!(out, b"beforeKEYS\x01k1\x02TAGS\x01A\x02CLUSTER\x01RaftCluster");
    }
}
