//! Restart: a node that starts again either runs or names what is wrong with its store: file and byte. Told by whoever
//! starts nodes, as there is nobody to look at otherwise.

use quorumq_raft::node::StartError;
use quorumq_store::StoreError;

/// The rule's name.
pub const NAME: &str = "restart";

/// Judges why a node on a sound network, which had its port to itself, did not start on a disk that has taken damage or,
/// without `damaged`, has not.
///
/// # Errors
/// The start was to succeed, or to say more.
pub fn check(error: &StartError, damaged: bool) -> Result<(), String> {
    match error {
        StartError::Store(StoreError::Corrupt { .. } | StoreError::Io { .. }) if damaged => Ok(()),
        error if damaged => Err(format!("a damaged store is not named: {error}")),
        error => Err(format!("a sound store does not start: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn only_named_damage_explains_a_failed_start() {
        let corrupt = || StoreError::Corrupt { what: "frame", path: PathBuf::from("/store/commitlog/0"), offset: 7 };
        assert_eq!(check(&StartError::Store(corrupt()), true), Ok(()));
        assert!(check(&StartError::Store(corrupt()), false).unwrap_err().contains("a sound store does not start"));
        assert!(
            check(&StartError::Raft("panicked".to_owned()), true).unwrap_err().contains("is not named: raft: panicked")
        );
    }
}
