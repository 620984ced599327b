//! Periods of time as people write them: `15` and `15s` are seconds, and there are `ms` and `m`.

use std::time::Duration;

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Reads a period; `None` when it is none. Zero is a number like any other here.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = if unit.is_empty() { "s" } else { unit.trim_start() };
    let millis = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

/// A period in its largest whole unit: `15s`, `1500ms`.
pub fn show(period: Duration) -> String {
    let millis = period.as_millis();
    let whole = UNITS.iter().rev().find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)) && millis > 0);
    let (name, unit) = whole.copied().unwrap_or(("s", 1000));
    format!("{}{name}", millis / u128::from(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms() {
        assert_eq!(parse("15"), Some(Duration::from_secs(15)));
        assert_eq!(parse("15s"), Some(Duration::from_secs(15)));
        assert_eq!(parse("1500 ms"), Some(Duration::from_millis(1500)));
        assert_eq!(parse("2m"), Some(Duration::from_secs(120)));
        for bad in ["", "s", "-1", "1.5s", "1d", "99999999999999999999", "18446744073709551615h"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn shown_in_the_largest_whole_unit() {
        for text in ["15s", "1500ms", "2m", "1h", "0s"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
    }
}
