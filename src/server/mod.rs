//! Accept, connections, limits, drain: shared by broker and NameServer.
