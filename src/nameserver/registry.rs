//! All that the handlers share: the route table, the key-value configuration, the clock.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::kv_store::KvStore;
use super::route_table::RouteTable;

/// Time since the NameServer started.
pub(super) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// The NameServer's state.
pub(super) struct Registry {
    routes: RwLock<RouteTable>,
    pub(super) kv: KvStore,
    clock: Clock,
}

impl Registry {
    pub(super) fn new(routes: RouteTable, kv: KvStore, clock: Clock) -> Self {
        Self { routes: RwLock::new(routes), kv, clock }
    }

    pub(super) fn routes(&self) -> RwLockReadGuard<'_, RouteTable> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn routes_mut(&self) -> RwLockWriteGuard<'_, RouteTable> {
        self.routes.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the NameServer started.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from((self.clock)().as_millis()).unwrap_or(u64::MAX)
    }
}
