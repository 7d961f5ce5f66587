//! How the client behaves towards brokers and NameServers that are played by the tests.
#![cfg(test)]

mod admin;
mod consumer;
mod fake;
mod model;
mod producer;
mod remoting;
mod routes;
