//! The hunt for planted bugs: which run is next, and which seed caught what. It comes to the same however many runs are
//! at work at once: a bug is caught by the first seed, in order, on which a rule saw it and the clean build passes.

use std::collections::BTreeMap;

/// What a run of a seed with a bug planted came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The rule that saw the bug; `None` if no rule that counts did.
    pub rule: Option<String>,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
}

/// A run to start: with the bug of this number planted, or clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    Planted { bug: usize, seed: u64 },
    Clean { seed: u64 },
}

/// What the hunt for one bug came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catch {
    /// Rule and seed; `None` if no seed caught it.
    pub caught: Option<(String, u64)>,
    /// Seeds that were tried until then, the catching one included.
    pub tried: u64,
    /// Virtual milliseconds over these.
    pub virtual_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Clean {
    Asked,
    Known(bool),
}

/// One bug's seeds. A seed's entry is `None` while its run is under way.
#[derive(Debug, Default)]
struct Chase {
    sights: BTreeMap<u64, Option<Sight>>,
}

/// The whole hunt.
#[derive(Debug)]
pub struct Hunt {
    seeds: Vec<u64>,
    chases: Vec<Chase>,
    clean: BTreeMap<u64, Clean>,
}

impl Hunt {
    /// For so many bugs.
    pub fn new(bugs: usize, seeds: Vec<u64>) -> Self {
        let chases = (0..bugs).map(|_| Chase::default()).collect();
        Self { seeds, chases, clean: BTreeMap::new() }
    }

    /// The next run; `None` if there is none before another ends. Bugs go side by side: the one with the fewest runs
    /// under way is next.
    pub fn next(&mut self) -> Option<Try> {
        if let Some(seed) = self.clean_to_ask() {
            self.clean.insert(seed, Clean::Asked);
            return Some(Try::Clean { seed });
        }
        let open = (0..self.chases.len()).filter_map(|bug| self.seed_to_try(bug).map(|seed| (bug, seed)));
        let (bug, seed) = open.min_by_key(|(bug, _)| self.chases[*bug].under_way())?;
        self.chases[bug].sights.insert(seed, None);
        Some(Try::Planted { bug, seed })
    }

    /// A run with a bug planted is over.
    pub fn seen(&mut self, bug: usize, seed: u64, sight: Sight) {
        self.chases[bug].sights.insert(seed, Some(sight));
    }

    /// A clean run is over; `passed`: no rule was broken.
    pub fn cleared(&mut self, seed: u64, passed: bool) {
        self.clean.insert(seed, Clean::Known(passed));
    }

    /// Whether a bug's catch is known, and what it is; at the end it is known of every bug.
    pub fn catch(&self, bug: usize) -> Option<Catch> {
        let (mut tried, mut virtual_ms) = (0, 0);
        for seed in &self.seeds {
            let sight = self.chases[bug].sights.get(seed)?.as_ref()?;
            tried += 1;
            virtual_ms += sight.virtual_ms;
            if let Some(rule) = &sight.rule {
                match self.clean.get(seed)? {
                    Clean::Asked => return None,
                    Clean::Known(true) => {
                        return Some(Catch { caught: Some((rule.clone(), *seed)), tried, virtual_ms });
                    }
                    Clean::Known(false) => {}
                }
            }
        }
        Some(Catch { caught: None, tried, virtual_ms })
    }

    /// Seeds on which the clean build breaks a rule: nothing is caught there.
    pub fn unclean(&self) -> Vec<u64> {
        self.clean.iter().filter(|(_, clean)| **clean == Clean::Known(false)).map(|(seed, _)| *seed).collect()
    }

    /// A seed that would catch if the clean build passes on it, which nobody knows yet.
    fn clean_to_ask(&self) -> Option<u64> {
        self.chases.iter().find_map(|chase| chase.sighted().find(|seed| !self.clean.contains_key(seed)))
    }

    /// The next seed of a bug, unless an earlier one may have caught it already.
    fn seed_to_try(&self, bug: usize) -> Option<u64> {
        let chase = &self.chases[bug];
        if chase.sighted().any(|seed| self.clean.get(&seed) != Some(&Clean::Known(false))) {
            return None;
        }
        self.seeds.get(chase.sights.len()).copied()
    }
}

impl Chase {
    fn under_way(&self) -> usize {
        self.sights.values().filter(|sight| sight.is_none()).count()
    }

    /// Seeds on which a rule saw the bug.
    fn sighted(&self) -> impl Iterator<Item = u64> {
        let seen = |sight: &Option<Sight>| sight.as_ref().is_some_and(|sight| sight.rule.is_some());
        self.sights.iter().filter(move |(_, sight)| seen(sight)).map(|(seed, _)| *seed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays a hunt with so many runs under way at once, of which the newest ends first.
    fn play(at_once: usize, sees: impl Fn(usize, u64) -> bool, passes: impl Fn(u64) -> bool) -> (Vec<Catch>, usize) {
        let mut hunt = Hunt::new(2, (1..=20).collect());
        let (mut running, mut runs) = (Vec::new(), 0);
        loop {
            while running.len() < at_once
                && let Some(next) = hunt.next()
            {
                running.push(next);
                runs += 1;
            }
            match running.pop() {
                Some(Try::Planted { bug, seed }) => {
                    let rule = sees(bug, seed).then(|| format!("rule-{bug}"));
                    hunt.seen(bug, seed, Sight { rule, virtual_ms: 10 });
                }
                Some(Try::Clean { seed }) => hunt.cleared(seed, passes(seed)),
                None => break,
            }
        }
        ((0..2).map(|bug| hunt.catch(bug).unwrap()).collect(), runs)
    }

    fn caught(rule: &str, seed: u64, tried: u64) -> Catch {
        Catch { caught: Some((rule.to_owned(), seed)), tried, virtual_ms: tried * 10 }
    }

    #[test]
    fn the_first_seed_that_sees_a_bug_catches_it_however_many_runs_are_at_work() {
        for at_once in [1, 2, 3, 8, 50] {
            let (catches, runs) = play(at_once, |bug, seed| seed % 7 == 0 || bug == 0 && seed > 4, |_| true);
            assert_eq!(catches, [caught("rule-0", 5, 5), caught("rule-1", 7, 7)], "{at_once} at once");
            assert!(runs <= 5 + 7 + 2 + 2 * at_once, "{runs} runs with {at_once} at once: it does not stop early");
        }
    }

    #[test]
    fn a_seed_on_which_the_clean_build_fails_catches_nothing() {
        for at_once in [1, 2, 3, 8, 50] {
            let (catches, _) = play(at_once, |_, seed| seed >= 3, |seed| seed > 4);
            assert_eq!(catches, [caught("rule-0", 5, 5), caught("rule-1", 5, 5)], "{at_once} at once");
        }
    }

    #[test]
    fn a_bug_that_no_seed_shows_has_tried_them_all() {
        let (catches, runs) = play(3, |bug, seed| bug == 1 && seed == 20, |_| true);
        assert_eq!(catches, [Catch { caught: None, tried: 20, virtual_ms: 200 }, caught("rule-1", 20, 20)]);
        assert_eq!(runs, 41);
    }

    #[test]
    fn nothing_is_known_of_a_bug_while_an_earlier_seed_runs() {
        let mut hunt = Hunt::new(1, vec![1, 2]);
        let sight = |rule: Option<&str>| Sight { rule: rule.map(str::to_owned), virtual_ms: 10 };
        assert_eq!(hunt.next(), Some(Try::Planted { bug: 0, seed: 1 }));
        assert_eq!(hunt.next(), Some(Try::Planted { bug: 0, seed: 2 }));
        assert_eq!(hunt.next(), None);
        hunt.seen(0, 2, sight(Some("late")));
        assert_eq!(hunt.next(), Some(Try::Clean { seed: 2 }));
        hunt.cleared(2, true);
        assert_eq!(hunt.catch(0), None);
        hunt.seen(0, 1, sight(Some("early")));
        assert_eq!(hunt.next(), Some(Try::Clean { seed: 1 }));
        assert_eq!(hunt.catch(0), None);
        hunt.cleared(1, false);
        assert_eq!(hunt.catch(0), Some(caught("late", 2, 2)));
        assert_eq!(hunt.unclean(), [1]);
    }
}
