//! The settings as given: file lines, flags over them, worked-out values below, defaults last.

use std::collections::BTreeMap;

use super::error::{ConfigError, Place, Problems, Warning};
use super::file::Input;
use super::properties;
use super::rule::Rule;
use super::settings::Key;

/// A checked configuration with what to tell about it.
#[derive(Debug)]
pub struct Loaded<C> {
    /// Good as a whole.
    pub config: C,
    /// To be logged once at start.
    pub warnings: Vec<Warning>,
    /// Where each setting's value comes from, in the order of the table.
    pub places: Vec<(&'static str, Place)>,
}

/// Values by key, and what was found wrong so far.
#[derive(Debug)]
pub(super) struct Source {
    keys: &'static [Key],
    values: BTreeMap<&'static str, (String, Place)>,
    problems: Vec<ConfigError>,
    warnings: Vec<Warning>,
}

/// RocketMQ's keys that are no settings of ours, and what to say of some of them.
pub(super) struct Foreign {
    pub known: fn() -> Box<dyn Iterator<Item = &'static str>>,
    /// Why a known key has no effect, for those where there is more to say.
    pub reasons: &'static [(&'static str, &'static str)],
}

impl Source {
    /// Merges file and flags. Problems are kept for [`Source::finish`].
    pub(super) fn new(keys: &'static [Key], foreign: &Foreign, input: &Input) -> Self {
        let mut source = Self { keys, values: BTreeMap::new(), problems: Vec::new(), warnings: Vec::new() };
        source.take_file(foreign, input);
        for (name, value) in &input.flags {
            if let Some(key) = keys.iter().find(|key| key.name == *name) {
                source.values.insert(key.name, (value.trim().to_owned(), Place::Flag(key.flag)));
            }
        }
        source
    }

    fn take_file(&mut self, foreign: &Foreign, input: &Input) {
        let Some((path, text)) = &input.file else { return };
        let properties = match properties::parse(text) {
            Ok(properties) => properties,
            Err((line, reason)) => {
                self.problems.push(ConfigError::Syntax { path: path.clone(), line, reason });
                return;
            }
        };
        for property in properties {
            let place = Place::Line { path: path.clone(), line: property.line };
            match self.keys.iter().find(|k| k.name == property.key || k.aliases.contains(&property.key.as_str())) {
                Some(key) => self.take_line(key, property.value, place),
                None => self.take_foreign(foreign, property.key, place),
            }
        }
    }

    /// The last of two lines counts, as in Java.
    fn take_line(&mut self, key: &Key, value: String, place: Place) {
        let earlier = self.values.insert(key.name, (value.clone(), place.clone()));
        if let Some((old, old_place)) = earlier.filter(|(old, _)| *old != value) {
            let text = format!("{place}: {} = {value} replaces {old} from {old_place}", key.name);
            self.warnings.push(Warning(text));
        }
    }

    fn take_foreign(&mut self, foreign: &Foreign, key: String, place: Place) {
        if let Some((_, reason)) = foreign.reasons.iter().find(|(name, _)| *name == key) {
            self.warnings.push(Warning(format!("{place}: {key} has no effect: {reason}")));
        } else if (foreign.known)().any(|name| name == key) {
            let text =
                format!("{place}: {key} is a RocketMQ setting that QuoruMQ does not implement; it has no effect");
            self.warnings.push(Warning(text));
        } else {
            let nearest = nearest(&key, self.keys.iter().map(|k| k.name).chain((foreign.known)()));
            self.problems.push(ConfigError::UnknownKey { place, key, nearest });
        }
    }

    /// Whether file or flags say something about `key`.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The text given for `key`, if any.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|(value, _)| value.as_str())
    }

    /// Sets `key` unless it is set.
    pub(super) fn derive(&mut self, key: &'static str, value: String, place: Place) {
        self.values.entry(key).or_insert((value, place));
    }

    /// Reads one setting; keeps the problem and answers `None` if its value is not allowed.
    pub(super) fn read<R: Rule>(&mut self, key: &'static str, rule: &R) -> Option<R::Value> {
        let (text, place) = self.given(key);
        match rule.parse(&text) {
            Ok(value) => Some(value),
            // A problem that asks for the missing key is told already.
            Err(_) if text.is_empty() && place == Place::Default => None,
            Err(allowed) => {
                self.problems.push(ConfigError::Value { place, key, value: text, allowed });
                None
            }
        }
    }

    /// The text that counts for `key` and where it is from.
    fn given(&self, key: &str) -> (String, Place) {
        let default = || self.keys.iter().find(|k| k.name == key).map_or("", |k| k.default);
        self.values.get(key).cloned().unwrap_or_else(|| (default().to_owned(), Place::Default))
    }

    /// Notes that the value of `key` does not go with another one.
    pub(super) fn conflict(&mut self, key: &'static str, reason: String) {
        let (value, place) = self.given(key);
        self.problems.push(ConfigError::Conflict { place, key, value, reason });
    }

    pub(super) fn problem(&mut self, problem: ConfigError) {
        self.problems.push(problem);
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.warnings.push(Warning(text.into()));
    }

    /// The configuration, or everything that is wrong with it.
    pub(super) fn finish<C>(mut self, config: Option<C>) -> Result<Loaded<C>, Problems> {
        match config {
            Some(config) if self.problems.is_empty() => {
                let place = |key: &Key| self.values.get(key.name).map_or(Place::Default, |(_, place)| place.clone());
                let places = self.keys.iter().map(|key| (key.name, place(key))).collect();
                Ok(Loaded { config, warnings: self.warnings, places })
            }
            _ => {
                // What was worked out from a bad value is bad too; the value itself is told.
                let derived = |p: &ConfigError| matches!(p, ConfigError::Value { place: Place::Derived, .. });
                if !self.problems.iter().all(derived) {
                    self.problems.retain(|problem| !derived(problem));
                }
                Err(Problems(self.problems))
            }
        }
    }
}

/// The name most like `key`, if any is like enough; the first of equals.
fn nearest(key: &str, names: impl Iterator<Item = &'static str>) -> Option<String> {
    let wanted = key.to_ascii_lowercase();
    let near = 2.max(key.len() / 4);
    names
        .map(|name| (strsim::damerau_levenshtein(&wanted, &name.to_ascii_lowercase()), name))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}
