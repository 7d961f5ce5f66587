//! The language a client says it is written in: a byte in binary headers, a name in JSON ones.

/// Java: what our answers carry. Every known client accepts it (clients.md 3.2: one of them refuses names it does
/// not know), and with version 409 it reads as the Apache broker whose behaviour we keep.
pub const JAVA: u8 = 0;
/// Rust: what our own client's requests carry.
pub const RUST: u8 = 12;
/// Stands for every name this table lacks.
pub const OTHER: u8 = 7;

/// LanguageCode.java, by ordinal.
const NAMES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS", "RUST",
    "NODE_JS",
];

/// The byte for a name; unknown names are [`OTHER`].
pub fn from_name(name: &str) -> u8 {
    NAMES.iter().position(|known| *known == name).and_then(|at| u8::try_from(at).ok()).unwrap_or(OTHER)
}

/// The name for a byte; unknown bytes are "OTHER".
pub fn name(language: u8) -> &'static str {
    NAMES.get(usize::from(language)).copied().unwrap_or(NAMES[usize::from(OTHER)])
}
