//! The command line: one file per command. The only part of the product that prints, reads arguments and exits.

mod backend;
mod bench;
mod broker;
mod catch_up;
mod consume;
mod dev;
mod duration;
mod error;
mod group;
mod log;
mod nameserver;
mod output;
mod process;
mod query;
mod recover;
mod send;
mod server;
mod settings;
mod store;
mod topic;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
#[cfg(debug_assertions)]
use quorumq_store::mutant::{Mutant, plant};

use error::CliError;
use process::Patience;

/// A message broker that speaks RocketMQ's protocol and replicates its CommitLog by Raft.
#[derive(Debug, Parser)]
#[command(name = "quorumq", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    /// What to log to stderr, e.g. info or warn,quorumq=debug.
    #[arg(long, global = true, value_name = "FILTER", env = "RUST_LOG", hide_env_values = true)]
    log: Option<String>,
    /// A bug to plant in this process, to see what finds it.
    #[cfg(debug_assertions)]
    #[arg(long, global = true, hide = true, value_name = "BUG", value_parser = mutant)]
    plant: Option<Mutant>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a NameServer and a three-node group in this process, to try things out.
    Dev(dev::DevArgs),
    /// Run a NameServer.
    #[command(name = "nameserver", visible_alias = "namesrv")]
    NameServer(nameserver::NameServerArgs),
    /// Run a broker: one member of one group.
    Broker(broker::BrokerArgs),
    /// Create, list, show or delete topics.
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Send messages.
    Send(send::SendArgs),
    /// Receive messages.
    Consume(consume::ConsumeArgs),
    /// Find messages by key or id.
    Query(query::QueryArgs),
    /// Show a broker group's members, add or remove one.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Look into a node's store on disk.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// Measure how fast messages are acknowledged.
    Bench(bench::BenchArgs),
}

/// Where client commands find the NameServers.
#[derive(Clone, Debug, Args)]
pub(crate) struct NameServers {
    /// NameServers, joined by ';'.
    #[arg(
        short = 'n',
        long = "namesrv",
        visible_alias = "namesrv-addr",
        value_name = "HOST:PORT",
        env = "NAMESRV_ADDR",
        hide_env_values = true,
        default_value = "127.0.0.1:9876"
    )]
    pub list: String,
}

/// Runs the command that the process was started with.
///
/// Exit codes: 0 done, 1 failed, 2 wrong arguments or configuration, 128 + n ended by signal n.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => error.report(),
    }
}

fn run(cli: Cli) -> Result<ExitCode, CliError> {
    log::init(cli.log.as_deref(), cli.command.default_filter())?;
    process::prepare();
    #[cfg(debug_assertions)]
    if let Some(mutant) = cli.plant {
        plant(mutant);
    }
    match cli.command {
        Command::Dev(args) => args.start(),
        Command::NameServer(args) => args.start(),
        Command::Broker(args) => args.start(),
        Command::Topic(command) => process::run(Patience::None, |_| command.run()),
        Command::Send(args) => process::run(Patience::None, |_| args.run()),
        Command::Consume(args) => process::run(Patience::Graceful, |stop| args.run(stop)),
        Command::Query(args) => process::run(Patience::None, |_| args.run()),
        Command::Group(command) => process::run(Patience::None, |_| command.run()),
        Command::Store(command) => process::run(Patience::None, |_| command.run()),
        Command::Bench(args) => process::run(Patience::Graceful, |stop| args.run(stop)),
    }
}

/// The planted bug of that name.
#[cfg(debug_assertions)]
fn mutant(name: &str) -> Result<Mutant, String> {
    let names = || Mutant::ALL.iter().map(|mutant| mutant.name()).collect::<Vec<_>>().join(", ");
    Mutant::parse(name).ok_or_else(|| format!("the bugs are {}", names()))
}

impl Command {
    /// Servers tell what they do; commands only what goes wrong.
    fn default_filter(&self) -> &'static str {
        match self {
            Command::Dev(_) => log::DEV,
            Command::NameServer(_) | Command::Broker(_) => log::SERVER,
            _ => log::CLIENT,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
