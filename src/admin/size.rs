//! Sizes as people write them: `512M`, `10G`, `1TiB`, `4096`.
//!
//! Units are powers of 1024. `GB` and its kin are refused because disk makers mean 10⁹ by them and
//! most programs 2³⁰: a disk must not be 7 % smaller than its owner believes.

/// Why a text is no size: what is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {remedy}")]
pub struct SizeError {
    /// What is wrong with it.
    pub what: String,
    /// What to write instead.
    pub remedy: String,
}

const UNITS: [(char, u32); 6] = [('K', 10), ('M', 20), ('G', 30), ('T', 40), ('P', 50), ('E', 60)];

/// The largest size: file offsets are signed 64-bit numbers.
pub const MAX: u64 = i64::MAX as u64;

/// Reads a size in bytes. Zero is a number like any other here.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(not_a_size(text));
    }
    let shift = shift_of(text, number, unit.trim_start())?;
    let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift));
    bytes.filter(|b| *b <= MAX).ok_or_else(|| SizeError {
        what: format!("\"{text}\" is too large"),
        remedy: "the largest size is 8E less one byte".into(),
    })
}

/// Whether `text` looks like a size, right or wrong: it starts with a digit and ends in a unit.
pub fn looks_like(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    parse(text).is_ok() || text.starts_with(|c: char| c.is_ascii_digit()) && unit_is_decimal(unit)
}

fn unit_is_decimal(unit: &str) -> bool {
    matches!(unit.to_ascii_uppercase().as_str(), "KB" | "MB" | "GB" | "TB" | "PB" | "EB")
}

fn shift_of(text: &str, number: &str, unit: &str) -> Result<u32, SizeError> {
    if unit.is_empty() || unit.eq_ignore_ascii_case("b") {
        return Ok(0);
    }
    if unit_is_decimal(unit) {
        let letter = unit[..1].to_ascii_uppercase();
        return Err(SizeError {
            what: format!("\"{text}\" is ambiguous: {unit} is a power of 1000 to some and of 1024 to others"),
            remedy: format!("write \"{number}{letter}\" for a power of 1024, or the number of bytes"),
        });
    }
    let mut chars = unit.chars();
    let letter = chars.next().map(|c| c.to_ascii_uppercase());
    let rest = chars.as_str();
    UNITS
        .iter()
        .find(|(c, _)| Some(*c) == letter && (rest.is_empty() || rest.eq_ignore_ascii_case("ib")))
        .map(|(_, shift)| *shift)
        .ok_or_else(|| not_a_size(text))
}

fn not_a_size(text: &str) -> SizeError {
    SizeError {
        what: format!("\"{text}\" is not a size"),
        remedy: "write a whole number and K, M, G, T or P (powers of 1024), like 512M, 10G or 1T".into(),
    }
}

/// A size for people, exact where it is a whole number of units: `10 GiB`, `1.5 GiB`, `513 bytes`.
pub fn show(bytes: u64) -> String {
    let unit = UNITS.iter().rev().find(|(_, shift)| bytes >= 1 << shift);
    let Some((letter, shift)) = unit else { return format!("{bytes} bytes") };
    let whole = bytes >> shift;
    if bytes == whole << shift {
        return format!("{whole} {letter}iB");
    }
    format!("{:.1} {letter}iB", bytes as f64 / (1u64 << shift) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("512M"), Ok(512 << 20));
        assert_eq!(parse("10g"), Ok(10 << 30));
        assert_eq!(parse("1TiB"), Ok(1 << 40));
        assert_eq!(parse("2 GiB"), Ok(2 << 30));
        assert_eq!(parse("7E"), Ok(7 << 60));
    }

    #[test]
    fn refuses_what_is_ambiguous_or_no_size() {
        assert!(parse("10GB").unwrap_err().remedy.contains("\"10G\""));
        for bad in ["", "G", "-1", "1.5G", "1.5GB", "10X", "10Gi", "8E", "99999999999999999999", "1é", "ten"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(looks_like("1.5GB") && looks_like("10G") && !looks_like("1f.2-ata-1"));
    }

    #[test]
    fn shows_sizes() {
        assert_eq!(show(10 << 30), "10 GiB");
        assert_eq!(show(3 << 29), "1.5 GiB");
        assert_eq!(show(513), "513 bytes");
        assert_eq!(show(0), "0 bytes");
    }
}
