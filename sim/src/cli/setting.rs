//! What a run is told besides its seed, in words that go to a child process and into the command that repeats it.

use std::time::Duration;

use clap::Args;
use quorumq_sim::system::Options;
use quorumq_store::mutant::Mutant;

use super::planted;

/// Longer runs are a mistake of the unit.
const MAX_MINUTES: f64 = 100_000.0;

#[derive(Args, Clone, Debug)]
pub struct Setting {
    /// Simulated minutes of chaos; healing and the last checks come after them.
    #[arg(long, value_name = "M", default_value_t = 5.0, value_parser = minutes)]
    pub minutes: f64,
    /// Plants this bug; `quorumq-sim mutants --list` names them.
    #[arg(long, value_name = "NAME", value_parser = planted::named)]
    pub mutant: Option<Mutant>,
    /// Flips one bit of the n-th run of bytes that a connection carries: shows that the hash covers it.
    #[arg(long, value_name = "N")]
    pub flip_bit_of: Option<u64>,
}

/// Simulated minutes of a run, from the command line.
pub fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|e| format!("{e}"))?;
    let fits = minutes > 0.0 && minutes <= MAX_MINUTES;
    if fits { Ok(minutes) } else { Err(format!("it has to be more than 0 and at most {MAX_MINUTES}")) }
}

impl Setting {
    /// For a run of so many minutes, with nothing planted.
    pub fn plain(minutes: f64) -> Self {
        Self { minutes, mutant: None, flip_bit_of: None }
    }

    /// As the system takes it.
    pub fn options(&self, print_trace: bool) -> Options {
        Options {
            length: Duration::from_secs_f64(self.minutes * 60.0),
            mutant: self.mutant.map(|bug| bug.name().to_owned()),
            print_trace,
            flip_bit_of: self.flip_bit_of,
        }
    }

    /// The arguments that run a seed with it.
    pub fn arguments(&self, seed: u64) -> Vec<String> {
        let mut words = vec!["run".to_owned(), "--seed".to_owned(), seed.to_string()];
        words.extend(["--minutes".to_owned(), self.minutes.to_string()]);
        words.extend(self.mutant.iter().flat_map(|bug| ["--mutant".to_owned(), bug.name().to_owned()]));
        words.extend(self.flip_bit_of.iter().flat_map(|n| ["--flip-bit-of".to_owned(), n.to_string()]));
        words
    }

    /// The command that repeats a seed.
    pub fn again(&self, seed: u64) -> String {
        format!("cargo sim {}", self.arguments(seed).join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_repeats_a_seed_says_everything() {
        assert_eq!(Setting::plain(5.0).again(7), "cargo sim run --seed 7 --minutes 5");
        let setting = Setting { minutes: 0.25, mutant: Some(Mutant::TornTailKept), flip_bit_of: Some(9) };
        let again = "cargo sim run --seed 7 --minutes 0.25 --mutant torn-tail-kept --flip-bit-of 9";
        assert_eq!(setting.again(7), again);
        assert_eq!(setting.options(false).length, Duration::from_secs(15));
    }

    #[test]
    fn minutes_are_more_than_none() {
        assert_eq!(minutes("0.5"), Ok(0.5));
        for text in ["0", "-1", "NaN", "inf", "five"] {
            assert!(minutes(text).is_err(), "{text}");
        }
    }
}
