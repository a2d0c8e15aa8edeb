//! Sizes and times as people write them.

use std::time::Duration;

use crate::value::{Error, Result};

/// Number and unit, which may have spaces before it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// A number of bytes: `65536`, `64K`, `64KiB`, `16M`, `1 GiB`, `1.5G`. K, M and G are powers of 1024, with or without
/// `iB`; KB, MB and GB are powers of 1000.
///
/// # Errors
/// `InvalidArgument` if it is not a size, or 0.
pub fn parse_size(text: &str) -> Result<u64> {
    let (number, unit) = split(text);
    let unit: Option<u64> = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        "kb" => Some(1000),
        "mb" => Some(1_000_000),
        "gb" => Some(1_000_000_000),
        _ => None,
    };
    let whole = || number.parse::<u64>().ok()?.checked_mul(unit?);
    let fraction = || {
        let bytes = number.parse::<f64>().ok()? * unit? as f64;
        (bytes >= 1.0 && bytes < u64::MAX as f64 && unit != Some(1)).then_some(bytes as u64)
    };
    whole()
        .or_else(fraction)
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| Error::invalid(format!("'{text}' is not a size: expected something like 65536, 64KiB or 16M")))
}

/// A length of time: `2`, `0.5`, `500ms`, `1.5s`, `2m`, `1h`; seconds if there is no unit.
///
/// # Errors
/// `InvalidArgument` if it is not a time, or not more than 0.
pub fn parse_time(text: &str) -> Result<Duration> {
    let (number, unit) = split(text);
    let seconds = match unit {
        "us" | "µs" => Some(1e-6),
        "ms" => Some(1e-3),
        "" | "s" => Some(1.0),
        "m" | "min" => Some(60.0),
        "h" => Some(3600.0),
        _ => None,
    };
    let seconds = number.parse::<f64>().ok().zip(seconds).map(|(number, unit)| number * unit);
    seconds
        .filter(|seconds| *seconds > 0.0)
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| Error::invalid(format!("'{text}' is not a time: expected something like 2, 0.5, 500ms or 1m")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, milliseconds) in
            [("2", 2000), ("0.5", 500), ("50ms", 50), ("1.5m", 90_000), (" 2 s ", 2000), ("1h", 3_600_000)]
        {
            assert_eq!(parse_time(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        for wrong in ["", "s", "-1", "0", "1x", "1e400", "nan", "inf", "1 2"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("512", 512),
            ("64K", 65536),
            ("1g", 1 << 30),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("10kB", 10_000),
            ("1.5M", 3 << 19),
        ] {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        for wrong in ["", "M", "-1", "0", "1.5", "1x", "99999999999G", "é", "1e3", "-1M"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
