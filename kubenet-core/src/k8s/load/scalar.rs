//! What an unquoted word of YAML means to kubectl.
//!
//! In: the text of a plain scalar. Out: its value by the rules of YAML 1.1 as go-yaml v2 has them (`resolve.go` in
//! `sigs.k8s.io/yaml/goyaml.v2`), which kubectl reads manifests with: `y`, `yes` and `on` are booleans, `0777` and `0o777` are
//! octal, `1_000` is a thousand, while `12:30:45` and dates stay text.

use alloc::borrow::Cow;
use alloc::string::String;

/// What a plain scalar is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Bool(bool),
    /// A whole number that fits an `i64`.
    Int(i64),
    /// A whole number above that.
    UInt(u64),
    /// Any other number, infinities and not-a-number included.
    Float(f64),
    Text(&'a str),
}

/// Reads a plain scalar.
pub(super) fn resolve(text: &str) -> Scalar<'_> {
    let Some(&first) = text.as_bytes().first() else { return Scalar::Null };
    match first {
        b'~' | b'n' | b'N' | b'y' | b'Y' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' => word(text),
        b'0'..=b'9' | b'+' | b'-' | b'.' => number(text),
        _ => Scalar::Text(text),
    }
}

fn word(text: &str) -> Scalar<'_> {
    match text {
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Scalar::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Scalar::Bool(false)
        }
        _ => Scalar::Text(text),
    }
}

fn number(text: &str) -> Scalar<'_> {
    if let Ok(number) = text.parse::<i64>() {
        // A leading zero means octal, which the standard library does not know.
        let digits = text.trim_start_matches(['+', '-']);
        if !digits.starts_with('0') || digits.len() == 1 {
            return Scalar::Int(number);
        }
    }
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        _ => {}
    }
    let plain: Cow<'_, str> = match text.contains('_') && !text.starts_with('.') {
        true => text.chars().filter(|&c| c != '_').collect::<String>().into(),
        false => text.into(),
    };
    integer(&plain).or_else(|| float(&plain)).unwrap_or(Scalar::Text(text))
}

/// `strconv.ParseInt(text, 0, 64)`, then `ParseUint`.
fn integer(text: &str) -> Option<Scalar<'static>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0i64.checked_sub_unsigned(magnitude).map(Scalar::Int);
    }
    Some(i64::try_from(magnitude).map_or(Scalar::UInt(magnitude), Scalar::Int))
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, if it fits.
fn float(text: &str) -> Option<Scalar<'static>> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let good = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    if !good || !exponent.is_none_or(digits) {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Scalar::Float)
}

#[cfg(test)]
mod tests {
    use super::{Scalar, resolve};

    #[test]
    fn plain_scalars_mean_what_kubectl_takes_them_for() {
        // Each as `kubectl label --local -o json` (1.32) prints it.
        use Scalar::{Bool, Float, Int, Null, Text, UInt};
        for (text, value) in [
            ("", Null),
            ("~", Null),
            ("Null", Null),
            ("nULL", Text("nULL")),
            ("y", Bool(true)),
            ("On", Bool(true)),
            ("NO", Bool(false)),
            ("tRUE", Text("tRUE")),
            ("yes!", Text("yes!")),
            ("0", Int(0)),
            ("00", Int(0)),
            ("-0", Int(0)),
            ("+12", Int(12)),
            ("0777", Int(511)),
            ("010", Int(8)),
            ("0o17", Int(15)),
            ("0O7", Int(7)),
            ("0x1F", Int(31)),
            ("0B1", Int(1)),
            ("0x_1", Int(1)),
            ("1_000", Int(1000)),
            ("1__0", Int(10)),
            ("089", Float(89.0)),
            ("0x", Text("0x")),
            ("0x-1", Text("0x-1")),
            ("_1", Text("_1")),
            ("-", Text("-")),
            (".", Text(".")),
            ("1.", Float(1.0)),
            (".5", Float(0.5)),
            ("-.5", Float(-0.5)),
            ("._5", Text("._5")),
            ("1_000.5", Float(1000.5)),
            ("1e1_0", Float(1e10)),
            ("80e0", Float(80.0)),
            ("12e", Text("12e")),
            ("1e400", Text("1e400")),
            (".inf", Float(f64::INFINITY)),
            ("9223372036854775807", Int(i64::MAX)),
            ("-9223372036854775808", Int(i64::MIN)),
            ("12345678901234567890", UInt(12_345_678_901_234_567_890)),
            ("123456789012345678901234567890", Float(1.234_567_890_123_456_8e29)),
            ("12:30:45", Text("12:30:45")),
            ("2001-01-01", Text("2001-01-01")),
            ("10.0.0.1", Text("10.0.0.1")),
            ("1.2.3", Text("1.2.3")),
            ("infinity", Text("infinity")),
            ("+nan", Text("+nan")),
            ("<<", Text("<<")),
        ] {
            assert_eq!(resolve(text), value, "{text}");
        }
    }
}
