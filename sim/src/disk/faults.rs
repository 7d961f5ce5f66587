//! When an operation of a disk fails: the n-th one, or one in so many while that is switched on.

use rand::RngExt;

use crate::runtime::SimRng;

/// Linux's number for an input/output error.
pub(super) const EIO: i32 = 5;

/// The error of a medium that cannot do what it was asked.
pub(super) fn input_output_error() -> std::io::Error {
    std::io::Error::from_raw_os_error(EIO)
}

/// Operations of one sort that are to fail.
#[derive(Debug, Default)]
pub(super) struct Fails {
    /// Operations that pass before one fails.
    after: Option<u64>,
    /// One in this many fails; 0: none.
    one_in: u32,
}

impl Fails {
    /// After `skip` more operations, one fails.
    pub(super) fn once_after(&mut self, skip: u64) {
        self.after = Some(skip);
    }

    /// One in `one_in` fails from now on; 0: none.
    pub(super) fn at_rate(&mut self, one_in: u32) {
        self.one_in = one_in;
    }

    /// Forgets the one that was to fail; a rate goes on.
    pub(super) fn forget_once(&mut self) {
        self.after = None;
    }

    /// Whether the operation about to be done fails.
    pub(super) fn strike(&mut self, rng: &mut SimRng) -> bool {
        match &mut self.after {
            Some(0) => {
                self.after = None;
                return true;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        self.one_in > 0 && rng.random_range(0..self.one_in) == 0
    }
}
