//! `quorumq-sim run`: one seed in this process, many each in one of its own, or a small scenario.

use std::time::Duration;

use clap::{ArgGroup, Args};
use quorumq_sim::scenario::Scenario;

use super::many::ManyArgs;
use super::one::OneArgs;
use super::range::Seeds;
use super::setting::Setting;
use super::{Done, scenario};

#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").required(true).args(["seed", "seeds"]))]
pub struct RunArgs {
    /// The seed: decides everything that is drawn. The last line is `seed N OK|FAILED hash H`.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Many seeds, one process each: `1..201`, or `1..` with --hours.
    #[arg(long, value_name = "A..B")]
    seeds: Option<Seeds>,
    #[command(flatten)]
    setting: Setting,
    #[command(flatten)]
    one: OneArgs,
    #[command(flatten)]
    many: ManyArgs,
    /// Runs one of the small scenarios instead of the whole system.
    #[arg(long, value_enum, conflicts_with_all = ["seeds", "minutes", "mutant", "flip_bit_of"])]
    scenario: Option<Scenario>,
    /// Virtual seconds after which a scenario has failed.
    #[arg(long, value_name = "S", default_value_t = 3600, requires = "scenario")]
    time_limit_s: u64,
}

impl RunArgs {
    /// # Errors
    /// The command cannot do its work.
    pub fn run(self) -> Done {
        match (self.seed, self.seeds, self.scenario) {
            (Some(seed), _, Some(small)) => {
                Ok(scenario::run(small, seed, Duration::from_secs(self.time_limit_s), self.one.trace))
            }
            (Some(seed), _, None) => self.one.run(seed, &self.setting),
            (None, Some(seeds), _) => self.many.run(seeds, &self.setting),
            (None, None, _) => Err("name a --seed or --seeds".to_owned()),
        }
    }
}
