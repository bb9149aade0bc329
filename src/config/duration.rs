//! Durations as people write them: a whole number and a unit.

use std::time::Duration;

/// The units, longest first, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", DAY), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const DAY: u64 = 24 * 3_600_000;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Digits without a unit.
    #[error("a duration needs a unit")]
    NoUnit,
    /// The unit is none of `ms`, `s`, `m`, `h`, `d`.
    #[error("the unit {0:?} is not known")]
    Unit(String),
    /// It does not begin with a whole number.
    #[error("not a duration")]
    Number,
    /// More than a `u64` of milliseconds can hold.
    #[error("the number is too large")]
    TooLarge,
}

/// Reads `500ms`, `10s`, `5m`, `24h` or `400d`; a blank may stand before the unit.
///
/// # Errors
/// When the text is anything else.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let Some((number, unit)) = text.split_at_checked(digits) else { return Err(DurationError::Number) };
    if number.is_empty() {
        return Err(DurationError::Number);
    }
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(DurationError::NoUnit);
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(DurationError::Unit(unit.to_owned()));
    };
    let number: u64 = number.parse().map_err(|_| DurationError::TooLarge)?;
    number.checked_mul(*factor).map(Duration::from_millis).ok_or(DurationError::TooLarge)
}

/// Writes a duration of whole milliseconds in the largest unit that keeps it whole, as [`parse`] reads it. A single day is
/// 24 hours, as people say.
pub fn format(duration: Duration) -> String {
    let millis = duration.as_millis();
    let fits = |factor: u64| {
        millis > 0 && millis.is_multiple_of(u128::from(factor)) && (factor < DAY || millis > u128::from(DAY))
    };
    UNITS.iter().find(|(_, factor)| fits(*factor)).map_or_else(
        || format!("{millis}ms"),
        |(unit, factor)| format!("{}{unit}", millis / u128::from(*factor)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_with_units_and_nothing_else() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("5 m"), Ok(Duration::from_mins(5)));
        assert_eq!(parse("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(parse("400d"), Ok(Duration::from_hours(400 * 24)));
        assert_eq!(parse("5"), Err(DurationError::NoUnit));
        assert_eq!(parse("5min"), Err(DurationError::Unit("min".to_owned())));
        assert_eq!(parse("5M"), Err(DurationError::Unit("M".to_owned())));
        assert_eq!(parse("-5s"), Err(DurationError::Number));
        assert_eq!(parse("1.5s"), Err(DurationError::Unit(".5s".to_owned())));
        assert_eq!(parse("soon"), Err(DurationError::Number));
        assert_eq!(parse(""), Err(DurationError::Number));
        assert_eq!(parse("99999999999999999999s"), Err(DurationError::TooLarge));
        assert_eq!(parse("18446744073709551615h"), Err(DurationError::TooLarge));
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["1ms", "1500ms", "59s", "90s", "1m", "5m", "24h", "25h", "2d", "400d"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
        assert_eq!(format(Duration::from_mins(1)), "1m");
        assert_eq!(format(Duration::ZERO), "0ms");
    }
}
