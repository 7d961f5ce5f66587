//! Offline check of a CommitLog.
