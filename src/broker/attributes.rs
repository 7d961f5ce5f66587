//! Attributes of a topic as a request changes them: `+key=value` sets one, `-key` takes one away, the others stay.

use std::collections::BTreeMap;

use crate::machine::topics::RESERVE_TIME;

/// What a request changes; `None` takes the attribute away.
#[derive(Debug, Default)]
pub(super) struct AttributeChanges(BTreeMap<String, Option<String>>);

impl AttributeChanges {
    /// Of a request's `attributes`: changes with commas between them.
    ///
    /// # Errors
    /// The first one that is no change, names an attribute again, or sets one to what it cannot be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut changes = BTreeMap::new();
        for change in text.split(',').filter(|change| !change.is_empty()) {
            let (key, value) = match (change.strip_prefix('+').and_then(|set| set.split_once('=')), change) {
                (Some((key, value)), _) => (key, Some(value)),
                (None, change) => match change.strip_prefix('-') {
                    Some(key) if !key.contains('=') => (key, None),
                    _ => return Err(format!("attributes: {change:?} is neither +key=value nor -key")),
                },
            };
            if key.is_empty() {
                return Err(format!("attributes: {change:?} names none"));
            }
            if let (RESERVE_TIME, Some(value)) = (key, value) {
                check_reserve_time(value)?;
            }
            if changes.insert(key.to_owned(), value.map(str::to_owned)).is_some() {
                return Err(format!("attributes: {key} is changed twice"));
            }
        }
        Ok(Self(changes))
    }

    /// Makes the changes. Taking away what is not there changes nothing: a request may come again.
    pub fn make(self, attributes: &mut BTreeMap<String, String>) {
        for (key, value) in self.0 {
            match value {
                Some(value) => attributes.insert(key, value),
                None => attributes.remove(&key),
            };
        }
    }
}

/// Checked here and not where a command is applied: what is in logs already stays what it was.
fn check_reserve_time(value: &str) -> Result<(), String> {
    let (least, most) = (-1, i64::from(u32::MAX));
    match value.parse::<i64>() {
        Ok(hours) if (least..=most).contains(&hours) => Ok(()),
        _ => Err(format!(
            "attribute {RESERVE_TIME} is {value:?}: it is a whole number of hours, {least} to {most}; with -1 or 0 \
             fileReservedTime alone holds"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(before: &[(&str, &str)], text: &str) -> Vec<(String, String)> {
        let mut attributes = before.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        AttributeChanges::parse(text).unwrap().make(&mut attributes);
        attributes.into_iter().collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn attributes_that_are_not_named_stay() {
        let before = [("a", "1"), ("b", "2")];
        assert_eq!(changed(&before, ""), owned(&before));
        assert_eq!(changed(&before, "+b=3,,+c=x=y"), owned(&[("a", "1"), ("b", "3"), ("c", "x=y")]));
        assert_eq!(changed(&before, "-a,-none"), owned(&[("b", "2")]));
        assert_eq!(changed(&before, "+a="), owned(&[("a", ""), ("b", "2")]));
    }

    #[test]
    fn what_is_no_change_is_refused() {
        for bad in
            ["a", "a=1", "+a", "-a=1", "+=1", "-", "+", "+a=1,-a", "+reserve.time=30d", "+reserve.time=4294967296"]
        {
            assert!(AttributeChanges::parse(bad).is_err(), "{bad}");
        }
    }
}
