//! `quorumq send`.

use std::io::{self, IsTerminal, stdin};

use bytes::Bytes;
use clap::Args;

use super::backend::{Outgoing, Sender, Sent};
use super::error::CliError;
use super::{NameServers, output};

#[derive(Debug, Args)]
pub(super) struct SendArgs {
    /// Topic to send to.
    topic: String,
    /// Message body. Without one, each line of standard input is a message.
    body: Option<String>,
    /// Tag, for consumers to filter by.
    #[arg(short, long)]
    tag: Option<String>,
    /// Keys to find the message by, joined by spaces.
    #[arg(short, long)]
    keys: Option<String>,
    /// A property as name=value; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    property: Vec<(String, String)>,
    /// Messages of one sharding key go to one queue.
    #[arg(long)]
    sharding_key: Option<String>,
    /// Send the body this many times.
    #[arg(short, long, default_value_t = 1, requires = "body")]
    count: u64,
    /// Producer group.
    #[arg(long, default_value = "quorumq-cli")]
    producer_group: String,
    #[command(flatten)]
    namesrv: NameServers,
}

fn property(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| "must be name=value".to_owned())?;
    // RocketMQ keeps properties as one string with these two as separators.
    if name.is_empty() || text.contains(['\u{1}', '\u{2}']) {
        return Err("must be name=value, without control characters".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl SendArgs {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let sender = Sender::start(&self.namesrv, &self.producer_group).await?;
        let sent = match &self.body {
            Some(body) => {
                let body = Bytes::from(body.clone());
                self.send_each((0..self.count).map(|_| Ok(body.clone())), &sender).await
            }
            None => {
                if stdin().is_terminal() {
                    tracing::warn!("reading messages from the terminal, one a line; end with Ctrl-D");
                }
                self.send_each(std::iter::from_fn(next_line), &sender).await
            }
        };
        sender.close().await;
        sent
    }

    async fn send_each(
        &self,
        bodies: impl Iterator<Item = io::Result<Bytes>>,
        sender: &Sender,
    ) -> Result<(), CliError> {
        for body in bodies {
            let unreadable = |e| CliError::failed(format!("cannot read standard input: {e}"), "Send UTF-8 text.");
            let sent = sender.send(self.message(body.map_err(unreadable)?)).await?;
            output::line(told(&sent))?;
        }
        Ok(())
    }

    fn message(&self, body: Bytes) -> Outgoing {
        Outgoing {
            topic: self.topic.clone(),
            body,
            tag: self.tag.clone(),
            keys: self.keys.clone(),
            properties: self.property.clone(),
            sharding_key: self.sharding_key.clone(),
        }
    }
}

/// The next line of standard input, without its end.
fn next_line() -> Option<io::Result<Bytes>> {
    let mut line = String::new();
    match stdin().read_line(&mut line) {
        Ok(0) => None,
        Ok(_) => Some(Ok(Bytes::from(line.trim_end_matches(['\r', '\n']).to_owned()))),
        Err(e) => Some(Err(e)),
    }
}

fn told(sent: &Sent) -> String {
    format!("SEND_OK {} queue {} offset {} id {}", sent.group, sent.queue, sent.offset, sent.msg_id)
}
