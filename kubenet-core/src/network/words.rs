//! A question in one line of text, as scenarios and simulations write it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Limits, Question};
use crate::addr::Family;
use crate::trace::Chance;

/// Reads a question as the command line does: `SRC DST [--proto P] [--family 4|6] [--sport N] [--payload N] [--seed N | --explore]
/// [--pin POINT=VALUE] [-n NS]`. A value with spaces stands in single quotes.
///
/// # Errors
///
/// What is wrong, in words.
pub fn words(text: &str) -> Result<Question, String> {
    let all = split(text)?;
    let mut ends: Vec<String> = Vec::new();
    let mut question = Question::new("", "");
    let mut pins = BTreeMap::new();
    let mut seed = 0;
    let mut explore = false;
    let mut rest = all.into_iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{word} needs a value"));
        fn read<T: core::str::FromStr>(option: &str, value: &str) -> Result<T, String> {
            value.parse().map_err(|_| format!("{option} {value}: not a value of this option"))
        }
        match &*word {
            "--proto" => question.protocol = Some(read(&word, &value()?)?),
            "--sport" => question.sport = Some(read(&word, &value()?)?),
            "--payload" => question.payload = read(&word, &value()?)?,
            "--seed" => seed = read(&word, &value()?)?,
            "--explore" => explore = true,
            "-n" => question.namespace = value()?.into(),
            "--family" => {
                question.family = Some(match &*value()? {
                    "4" => Family::V4,
                    "6" => Family::V6,
                    other => return Err(format!("--family {other}: use 4 or 6")),
                });
            }
            "--pin" => {
                let value = value()?;
                let (point, index) =
                    value.rsplit_once('=').ok_or_else(|| format!("--pin {value}: expected POINT=VALUE"))?;
                pins.insert(point.to_string(), read(&word, index)?);
            }
            option if option.starts_with('-') => return Err(format!("{option} is not an option of trace")),
            _ => ends.push(word),
        }
    }
    let [from, to] = &ends[..] else {
        return Err(format!("expected SRC and DST, found {} words", ends.len()));
    };
    (question.from, question.to) = (from.clone(), to.clone());
    question.chance = if explore {
        Chance::Explored { branches: Limits::default().branches }
    } else {
        Chance::Seeded { seed, pins }
    };
    Ok(question)
}

/// Words between spaces; single quotes keep spaces together.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_with(String::new);
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_with(String::new).push(c),
        }
    }
    if quoted {
        return Err("a quote has no end".into());
    }
    words.extend(word);
    Ok(words)
}
