//! Prints a resolved configuration as a file that resolves to itself.

use super::error::Place;

/// Every setting as `key=value`, grouped by where the values come from.
pub fn print(entries: &[(&'static str, String)], places: &[(&'static str, Place)]) -> String {
    let mut out = String::new();
    for (title, belongs) in GROUPS {
        let mut members = entries.iter().filter(|(key, _)| belongs(place_of(places, key))).peekable();
        if members.peek().is_none() {
            continue;
        }
        out.push_str(&format!("# {title}\n"));
        for (key, value) in members {
            out.push_str(&format!("{key}={}\n", value.replace('\\', "\\\\")));
        }
    }
    out
}

type Group = (&'static str, fn(&Place) -> bool);

const GROUPS: [Group; 5] = [
    ("from the file", |place| matches!(place, Place::Line { .. })),
    ("from flags", |place| matches!(place, Place::Flag(_))),
    ("from the environment", |place| matches!(place, Place::Environment(_))),
    ("worked out from other settings and this machine", |place| matches!(place, Place::Derived)),
    ("defaults", |place| matches!(place, Place::Default)),
];

fn place_of<'a>(places: &'a [(&'static str, Place)], key: &str) -> &'a Place {
    places.iter().find(|(name, _)| *name == key).map_or(&Place::Default, |(_, place)| place)
}
