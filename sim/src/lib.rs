//! The world in a box: the product's own code over simulated time, network and disks.
//!
//! One seed is one run, to the last byte: the same seed gives the same [`trace::Trace`] hash in every process.
//! [`runtime::SimRuntime`] implements the runtime seam over madsim's tasks and clock; [`world`] starts runs and
//! breaks things in them; [`scenario`] holds what the `quorumq-sim` binary can run.

#[cfg(not(madsim))]
compile_error!(
    "quorumq-sim needs `--cfg madsim`, which .cargo/config.toml sets for the workspace; \
     an environment variable RUSTFLAGS replaces that: unset it or add `--cfg madsim` to it."
);

#[cfg(madsim)]
pub mod checker;
#[cfg(madsim)]
pub mod disk;
#[cfg(madsim)]
pub mod history;
#[cfg(madsim)]
pub mod invariant;
#[cfg(madsim)]
pub mod report;
#[cfg(madsim)]
pub mod runtime;
#[cfg(madsim)]
pub mod scenario;
#[cfg(madsim)]
pub mod system;
#[cfg(madsim)]
pub mod tally;
#[cfg(madsim)]
pub mod trace;
#[cfg(madsim)]
pub mod workload;
#[cfg(madsim)]
pub mod world;
