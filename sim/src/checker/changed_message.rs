//! Changed message: what is read under a message's key is what was sent under it, to the last byte.

use super::facts::Facts;
use super::{Checker, Verdict};

/// See the module.
#[derive(Debug)]
pub struct ChangedMessage;

impl Checker for ChangedMessage {
    fn name(&self) -> &'static str {
        "changed-message"
    }

    fn check(&self, facts: &Facts<'_>) -> Verdict {
        for ((place, _), look) in facts.copies() {
            let read = look.read;
            // A key that nobody sent is a phantom.
            let Some(message) = facts.sent.get(&*read.key) else { continue };
            if message.sent.body != read.body {
                let (sent, got) = (message.sent.body, read.body);
                let offset = read.offset;
                return Err(format!("{}: body {sent:016x} was sent, {place} offset {offset} has {got:016x}", read.key));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Story;
    use super::*;

    #[test]
    fn another_body_is_noticed() {
        let sent = || Story::default().stored("a", 0, 0).scan(0, 0, &["a"]);
        sent().passes(&ChangedMessage);
        sent().but(|read| read.body ^= 1).breaks(&ChangedMessage, "was sent, orders@broker-a/0 offset 0 has");
    }
}
