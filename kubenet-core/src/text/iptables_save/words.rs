//! Words as iptables quotes them.

use alloc::string::String;

use crate::text::quoted::on_one_line;

/// A text of the user, as `xtables_save_string` prints it: bare if it is made of letters, digits, `_` and `-`.
pub(super) fn string(text: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !text.is_empty() && text.bytes().all(bare) { text.into() } else { quoted(text) }
}

/// Any other word: bare unless it would be read as something else.
pub(super) fn argument(text: &str) -> String {
    let unsafe_char = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\');
    if text.is_empty() || text.starts_with('#') || text.contains(unsafe_char) {
        quoted(text)
    } else {
        text.into()
    }
}

/// A word between quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars().map(on_one_line) {
        if matches!(c, '"' | '\\' | '\'') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// The words of what is carried. Texts of the user are quoted as iptables does it, by the option that they belong to.
pub(super) fn carried<'w>(words: impl IntoIterator<Item = &'w str>, out: &mut String) {
    let mut key = "";
    for word in words {
        out.push(' ');
        match key {
            _ if word.starts_with("--") => out.push_str(&argument(word)),
            "--log-prefix" | "--nflog-prefix" | "--ulog-prefix" | "--string" | "--helper" | "--label"
            | "--path" => {
                out.push_str(&string(word));
            }
            "--u32" | "--bytecode" | "--hex-string" | "--led-trigger-id" => out.push_str(&quoted(word)),
            _ => out.push_str(&argument(word)),
        }
        if word.starts_with("--") {
            key = word;
        }
    }
}
