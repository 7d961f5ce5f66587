//! The NameServer's key-value store: 100, 101, 102.

use super::header;

header! {
    /// PUT_KV_CONFIG (100).
    pub struct PutKvConfigRequest<'a> {
        namespace: &'a str = "namespace",
        key: &'a str = "key",
        value: &'a str = "value",
    }
}

header! {
    /// GET_KV_CONFIG (101) and DELETE_KV_CONFIG (102).
    pub struct KvConfigRequest<'a> {
        namespace: &'a str = "namespace",
        key: &'a str = "key",
    }
}

header! {
    /// The answer to 101.
    pub struct KvConfigResponse<'a> {
        value: Option<&'a str> = "value",
    }
}
