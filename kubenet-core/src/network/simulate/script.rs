//! The script of a simulation: what happens when, one line each.
//!
//! ```text
//! # at TIME: the rest of the line happens then; without it, at the time of the line before
//! at 0s    trace pod/client svc/web:80 as web      a packet; what follows 'as' names its connection
//! at 5s    delete pod web-0                        gone at once; its workload makes another
//! at 5s    delete service web
//! at 5s    unready pod web-1
//! at 6s    ready pod web-1
//! at 6s    terminate pod web-2
//! at 7s    scale deployment web 5
//! at 8s    drain node node-2                       its pods go, their workloads make others elsewhere
//! at 8s    uncordon node node-2                    it takes new pods again
//! at 9s    patch service web spec.internalTrafficPolicy=Local
//! at 9s    assume proxyMode=nftables
//! at 10s   send web                                one more packet on the connection
//! at 10s   show conntrack node-1                   what a command on a machine prints
//! ```

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::show::Shown;
use crate::time::{Duration, Instant};

/// A line of a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Its number, from 1.
    pub(super) number: u32,
    /// When it happens.
    pub(super) at: Instant,
    /// Its words, without the time.
    pub(super) text: String,
    /// What happens.
    pub(super) action: Action,
}

/// What a line does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A packet is sent on a new connection.
    Trace { question: String, label: Option<String> },
    /// A packet is sent on a connection that is there.
    Send { label: String, payload: u16 },
    /// A table of a machine is shown.
    Show { shown: Shown, what: String },
    /// A pod is gone.
    Delete { pod: String },
    /// An object that is no pod is gone.
    DeleteObject { kind: String, name: String },
    /// A pod is not ready any more, or again.
    Ready { pod: String, ready: bool },
    /// A pod is being deleted, and still runs.
    Terminate { pod: String },
    /// A workload has so many pods.
    Scale { workload: String, replicas: u32 },
    /// The pods of a node go, and no new ones come.
    Drain { node: String },
    /// A node takes new pods again.
    Uncordon { node: String },
    /// A field of an object has another value.
    Patch { kind: String, name: String, field: String, value: String },
    /// An assumption is another.
    Assume { key: String, value: String },
}

/// What is wrong with a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ScriptError {
    /// The line, from 1.
    pub line: u32,
    /// What is wrong, in words.
    pub message: String,
}

/// Reads a script. Times never go back.
pub(super) fn read(script: &str) -> Result<Vec<Line>, ScriptError> {
    let mut lines: Vec<Line> = Vec::new();
    for (number, whole) in (1_u32..).zip(script.lines()) {
        let fail = |message: String| ScriptError { line: number, message };
        let text = whole.split_once('#').map_or(whole, |(before, _)| before).trim();
        if text.is_empty() {
            continue;
        }
        let last = lines.last().map_or(Instant::START, |line| line.at);
        let (at, rest) = match text.strip_prefix("at ") {
            Some(rest) => {
                let (time, rest) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest, ""));
                let after = duration(time).ok_or_else(|| {
                    fail(format!("'{time}' is not a time; write it as 500ms, 3s, 5m or 2h"))
                })?;
                (Instant::START + after, rest.trim())
            }
            None => (last, text),
        };
        if at < last {
            return Err(fail("time does not go back: this line is earlier than the one before".into()));
        }
        let action = action(rest).map_err(fail)?;
        lines.push(Line { number, at, text: rest.to_string(), action });
    }
    Ok(lines)
}

/// `500ms`, `3s`, `5m`, `2h`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "ms" => Duration::from_millis(number),
        "s" | "" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    })
}

const ACTIONS: &str =
    "trace, send, show, delete, ready, unready, terminate, scale, drain, uncordon, patch or assume";

fn action(text: &str) -> Result<Action, String> {
    let (word, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(w, r)| (w, r.trim()));
    let words: Vec<&str> = rest.split_whitespace().collect();
    let pod = |words: &[&str]| match words {
        [kind, name] if is_kind(kind, "pod") => Ok((*name).to_string()),
        [name] if name.starts_with("pod/") || name.starts_with("pods/") => {
            Ok(name.split_once('/').map_or("", |(_, name)| name).to_string())
        }
        _ => Err(format!("expected '{word} pod [NS/]NAME'")),
    };
    let node = |words: &[&str]| match words {
        [kind, name] if is_kind(kind, "node") => Ok((*name).to_string()),
        [name] => Ok(name.strip_prefix("node/").unwrap_or(name).to_string()),
        _ => Err(format!("expected '{word} node NAME'")),
    };
    match word {
        "trace" => {
            let (question, label) =
                rest.rsplit_once(" as ").map_or((rest, None), |(q, l)| (q, Some(l.trim())));
            Ok(Action::Trace { question: question.trim().into(), label: label.map(ToString::to_string) })
        }
        "send" => match words[..] {
            [label] => Ok(Action::Send { label: label.into(), payload: 1 }),
            [label, bytes] => {
                let payload = bytes.parse().map_err(|_| format!("'{bytes}' is not a number of bytes"))?;
                Ok(Action::Send { label: label.into(), payload })
            }
            _ => Err("expected 'send NAME [BYTES]'".into()),
        },
        "show" => match words[..] {
            [table, what] => {
                let shown = Shown::named(table).ok_or_else(|| {
                    format!("'{table}' is no table; use conntrack or one that 'kubenet render --as' has")
                })?;
                Ok(Action::Show { shown, what: what.into() })
            }
            _ => Err("expected 'show TABLE MACHINE|POD'".into()),
        },
        "delete" => match words[..] {
            [kind, name] if !is_kind(kind, "pod") => {
                Ok(Action::DeleteObject { kind: kind.into(), name: name.into() })
            }
            _ => pod(&words).map(|pod| Action::Delete { pod }),
        },
        "ready" => pod(&words).map(|pod| Action::Ready { pod, ready: true }),
        "unready" => pod(&words).map(|pod| Action::Ready { pod, ready: false }),
        "terminate" => pod(&words).map(|pod| Action::Terminate { pod }),
        "scale" => match words[..] {
            [workload, replicas] if workload.contains('/') => scale(workload, replicas),
            [kind, name, replicas] => scale(&format!("{kind}/{name}"), replicas),
            _ => Err("expected 'scale KIND NAME REPLICAS'".into()),
        },
        "drain" => node(&words).map(|node| Action::Drain { node }),
        "uncordon" => node(&words).map(|node| Action::Uncordon { node }),
        "patch" => match words[..] {
            [kind, name, set] => {
                let (field, value) =
                    set.split_once('=').ok_or("expected 'patch KIND [NS/]NAME FIELD=VALUE'")?;
                Ok(Action::Patch {
                    kind: kind.into(),
                    name: name.into(),
                    field: field.into(),
                    value: value.into(),
                })
            }
            _ => Err("expected 'patch KIND [NS/]NAME FIELD=VALUE'".into()),
        },
        "assume" => {
            let (key, value) = rest.split_once('=').ok_or("expected 'assume KEY=VALUE'")?;
            Ok(Action::Assume { key: key.into(), value: value.into() })
        }
        other => Err(format!("'{other}' is nothing that a script does; use {ACTIONS}")),
    }
}

fn scale(workload: &str, replicas: &str) -> Result<Action, String> {
    let replicas = replicas.parse().map_err(|_| format!("'{replicas}' is not a number of pods"))?;
    Ok(Action::Scale { workload: workload.into(), replicas })
}

fn is_kind(word: &str, kind: &str) -> bool {
    let word = word.to_ascii_lowercase();
    word == kind || word.strip_suffix('s') == Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_times_and_comments_are_skipped() {
        let lines = read("# first\nat 1s trace a b:80 as x\nsend x\nat 2m delete pod web-0 # gone\n")
            .expect("a script");
        let secs: Vec<u64> = lines.iter().map(|line| line.at.as_nanos() / 1_000_000_000).collect();
        assert_eq!(secs, [1, 1, 120]);
        assert_eq!(lines[0].action, Action::Trace { question: "a b:80".into(), label: Some("x".into()) });
        assert_eq!(lines[2].action, Action::Delete { pod: "web-0".into() });
        assert_eq!(lines[2].number, 4);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let told = |script: &str| read(script).expect_err("wrong").to_string();
        assert_eq!(
            told("at 2s send x\nat 1s send x"),
            "line 2: time does not go back: this line is earlier than the one before"
        );
        assert_eq!(told("at soon send x"), "line 1: 'soon' is not a time; write it as 500ms, 3s, 5m or 2h");
        assert!(told("explode").starts_with("line 1: 'explode' is nothing that a script does"));
        assert_eq!(told("delete web-0"), "line 1: expected 'delete pod [NS/]NAME'");
        assert_eq!(told("scale deploy web many"), "line 1: 'many' is not a number of pods");
    }
}
