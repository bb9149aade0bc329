//! What tests are told from outside: how much of something, and from which seed.

/// A number from the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "a test is told from outside how long it lasts, and from which seed"
)]
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
