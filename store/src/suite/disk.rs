//! What every disk must do.
