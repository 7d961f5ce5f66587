//! The protocol to the byte: requests and answers written out by hand, and input that is no frame.
#![cfg(test)]

mod answers;
mod bad_input;
mod hand;
mod leniency;
mod requests;
