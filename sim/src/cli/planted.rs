//! The bugs that can be planted.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bug {
    pub name: &'static str,
    /// What it breaks.
    pub what: &'static str,
    /// Whether the rule that it breaks is that a healed system works again.
    pub against_liveness: bool,
}

/// All of them.
pub fn all() -> Vec<Bug> {
    Vec::new()
}

impl Bug {
    /// Whether a violation of this rule catches the bug. A crash, or a system that does not heal, may have any reason.
    pub fn is_caught_by(&self, rule: &str) -> bool {
        match rule {
            "panic" | "time-limit" => false,
            "liveness" => self.against_liveness,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_catches_no_bug_and_a_system_that_does_not_heal_only_one_that_is_about_it() {
        let safety = Bug { name: "a", what: "b", against_liveness: false };
        let liveness = Bug { against_liveness: true, ..safety };
        for (rule, catches) in [("panic", [false, false]), ("time-limit", [false, false]), ("liveness", [false, true])] {
            assert_eq!([safety, liveness].map(|bug| bug.is_caught_by(rule)), catches, "{rule}");
        }
        assert!(safety.is_caught_by("lost-write"));
    }
}
