//! Flags for the settings of a configuration file: made from the table of settings, so that there is one for each.

use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{BrokerConfig, Input, Key, Loaded, NameServerConfig, Problems};

/// A configuration with a table of settings.
pub(super) trait Configuration: Sized + Send + Sync + 'static {
    const KEYS: &'static [Key];
    /// Stands above the flags.
    const HEADING: &'static str;

    fn resolve(input: &Input) -> Result<Loaded<Self>, Problems>;
    fn entries(&self) -> Vec<(&'static str, String)>;
}

impl Configuration for BrokerConfig {
    const KEYS: &'static [Key] = Self::KEYS;
    const HEADING: &'static str = "Settings, as in broker.conf";

    fn resolve(input: &Input) -> Result<Loaded<Self>, Problems> {
        Self::resolve(input)
    }
    fn entries(&self) -> Vec<(&'static str, String)> {
        self.entries()
    }
}

impl Configuration for NameServerConfig {
    const KEYS: &'static [Key] = Self::KEYS;
    const HEADING: &'static str = "Settings, as in namesrv.conf";

    fn resolve(input: &Input) -> Result<Loaded<Self>, Problems> {
        Self::resolve(input)
    }
    fn entries(&self) -> Vec<(&'static str, String)> {
        self.entries()
    }
}

/// Where a server's configuration comes from: `-c FILE` and a flag for each setting.
#[derive(Clone, Debug, Args)]
pub(super) struct ConfigArgs<C: Configuration> {
    /// Configuration file in Java-properties form, with RocketMQ's keys.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Print the resolved configuration and exit.
    #[arg(short = 'p', long = "print-config", visible_alias = "print-config-item")]
    pub print: bool,
    #[command(flatten)]
    pub flags: SettingFlags<C>,
}

/// The settings given as flags: key and text.
#[derive(Clone, Debug)]
pub(super) struct SettingFlags<C> {
    values: Vec<(&'static str, String)>,
    of: PhantomData<C>,
}

impl<C: Configuration> ConfigArgs<C> {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn load(&self) -> Result<Loaded<C>, Problems> {
        C::resolve(&Input::gather(self.file.as_deref(), self.flags.values.clone())?)
    }
}

impl<C: Configuration> Args for SettingFlags<C> {
    fn augment_args(command: Command) -> Command {
        let command = command.next_help_heading(C::HEADING);
        C::KEYS.iter().fold(command, |command, key| command.arg(argument(key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(key: &'static Key) -> Arg {
    let default = if key.default.is_empty() { String::new() } else { format!(" [default: {}]", key.default) };
    let arg = Arg::new(key.name)
        .long(key.flag)
        .alias(key.name)
        .value_name("VALUE")
        // Values of a file may start with a dash, and so may a flag's: the table says what is wrong with it.
        .allow_hyphen_values(true)
        .help(format!("{}{default}", key.help.trim()));
    match (key.switch, key.name) {
        (true, _) => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        // As mqbroker has it.
        (false, "namesrvAddr") => arg.short('n'),
        (false, _) => arg,
    }
}

impl<C: Configuration> FromArgMatches for SettingFlags<C> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |key: &Key| Some((key.name, matches.get_one::<String>(key.name)?.clone()));
        Ok(Self { values: C::KEYS.iter().filter_map(given).collect(), of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
