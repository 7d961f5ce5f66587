//! The bugs that can be planted, as the hunt for them sees them.

use quorumq_store::mutant::Mutant;

/// The rule that a healed system works again.
const LIVENESS: &str = "liveness";

/// What a run ends with that has no rule to break: it may have any reason, so it catches nothing.
const NO_RULES: &[&str] = &["panic", "time-limit"];

/// Whether a violation of this rule catches the bug. That the system does not heal counts only for a bug that is about
/// healing.
pub fn catches(rule: &str, mutant: Mutant) -> bool {
    let about_healing = || mutant.expected().contains(&LIVENESS);
    !NO_RULES.contains(&rule) && (rule != LIVENESS || about_healing())
}

/// The bug of this name.
///
/// # Errors
/// There is none.
pub fn named(name: &str) -> Result<Mutant, String> {
    let nearest = || {
        let likeness = |mutant: &&Mutant| strsim::jaro_winkler(mutant.name(), name);
        let best = Mutant::ALL.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        best.map_or_else(String::new, |mutant| format!(" ({}?)", mutant.name()))
    };
    Mutant::parse(name)
        .ok_or_else(|| format!("there is no mutant {name:?}{}; `quorumq-sim mutants --list` names them", nearest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_catches_no_bug_and_a_system_that_does_not_heal_only_one_that_is_about_it() {
        for mutant in Mutant::ALL {
            assert!(!catches("panic", *mutant) && !catches("time-limit", *mutant));
            assert_eq!(catches(LIVENESS, *mutant), mutant.expected().contains(&LIVENESS), "{mutant:?}");
            assert!(catches("lost-write", *mutant));
        }
    }

    #[test]
    fn a_bug_is_found_by_its_name() {
        for mutant in Mutant::ALL {
            assert_eq!(named(mutant.name()), Ok(*mutant));
        }
        let told = named("vote-not-sinced").unwrap_err();
        assert!(told.contains("(vote-not-synced?)"), "{told}");
    }
}
