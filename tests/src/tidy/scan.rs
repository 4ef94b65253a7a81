//! Reads Rust as tokens, so that comments and strings do not count and macros do.

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path that begins at the root of the crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The module at the root that it goes through.
    pub(super) module: String,
    /// Where it stands.
    pub(super) line: usize,
}

/// The tokens of a file.
pub(super) fn tokens(text: &str) -> Result<Vec<TokenTree>, String> {
    let stream = TokenStream::from_str(text).map_err(|error| error.to_string())?;
    Ok(stream.into_iter().collect())
}

/// Every module at the crate's root that a file names, by `crate::` or by as many `super::` as lead there. `module` is
/// the module that the file is, from the root: `["dataplane", "socket"]`.
pub(super) fn root_modules(tokens: &[TokenTree], module: &[&str]) -> Vec<Named> {
    let mut found = Vec::new();
    walk(tokens, module.len(), &mut found);
    found
}

fn walk(tokens: &[TokenTree], depth: usize, found: &mut Vec<Named>) {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if let TokenTree::Group(group) = token {
            let inside: Vec<_> = group.stream().into_iter().collect();
            walk(&inside, depth + usize::from(opens_module(tokens, at)), found);
        }
        let ups = tokens[at..].chunks(3).take_while(|chunk| is_word(chunk, "super")).count();
        if is_word(&tokens[at..], "crate") {
            heads(&tokens[at + 3..], found);
        } else if ups > 0 && ups == depth {
            heads(&tokens[at + 3 * ups..], found);
        }
        // The rest of a chain of `super::` does not begin a path of its own.
        at += (3 * ups).max(1);
    }
}

/// `word ::`
fn is_word(tokens: &[TokenTree], word: &str) -> bool {
    matches!(
        tokens,
        [TokenTree::Ident(ident), TokenTree::Punct(a), TokenTree::Punct(b), ..]
            if ident == word && a.as_char() == ':' && b.as_char() == ':'
    )
}

/// Whether the group at that place is the body of `mod name { … }`.
fn opens_module(tokens: &[TokenTree], at: usize) -> bool {
    let is_brace = matches!(&tokens[at], TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
    let before = at.checked_sub(2).and_then(|start| tokens.get(start));
    is_brace && matches!(before, Some(TokenTree::Ident(ident)) if ident == "mod")
}

/// What follows `crate::`: a name, or several in braces.
fn heads(tokens: &[TokenTree], found: &mut Vec<Named>) {
    match tokens.first() {
        Some(TokenTree::Ident(ident)) => {
            found.push(Named { module: ident.to_string(), line: ident.span().start().line });
        }
        Some(TokenTree::Group(group)) => {
            let inside: Vec<_> = group.stream().into_iter().collect();
            let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
            inside.split(is_comma).for_each(|part| heads(part, found));
        }
        _ => {}
    }
}

/// Every identifier, with its line.
pub(super) fn identifiers(tokens: &[TokenTree], take: &mut dyn FnMut(&str, usize)) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => identifiers(&group.stream().into_iter().collect::<Vec<_>>(), take),
            TokenTree::Ident(ident) => take(&ident.to_string(), ident.span().start().line),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Every macro that is called, with its line.
pub(super) fn macro_calls(tokens: &[TokenTree], take: &mut dyn FnMut(&str, usize)) {
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => macro_calls(&group.stream().into_iter().collect::<Vec<_>>(), take),
            TokenTree::Ident(ident) => {
                let is_call = matches!(tokens.get(at + 1), Some(TokenTree::Punct(p)) if p.as_char() == '!')
                    && matches!(tokens.get(at + 2), Some(TokenTree::Group(_)));
                if is_call {
                    take(&ident.to_string(), ident.span().start().line);
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str, module: &[&str]) -> Vec<String> {
        let tokens = tokens(text).expect("Rust");
        root_modules(&tokens, module).into_iter().map(|named| named.module).collect()
    }

    #[test]
    fn paths_from_the_root_are_found_wherever_they_stand() {
        assert_eq!(named("use crate::addr::MacAddr;", &["plan"]), ["addr"]);
        assert_eq!(
            named("use crate::{addr::{self, Family}, plan, lpm as x};", &["plan"]),
            ["addr", "plan", "lpm"]
        );
        assert_eq!(
            named("fn f() -> crate::plan::Route { vec![crate::lpm::Map::new()] }", &["a"]),
            ["plan", "lpm"]
        );
        assert_eq!(named("macro_rules! m { () => { $crate::origin::Origin } }", &["k8s"]), ["origin"]);
    }

    #[test]
    fn super_counts_where_it_leads_to_the_root() {
        assert_eq!(named("use super::addr;", &["plan"]), ["addr"]);
        assert_eq!(named("use super::link; use super::super::addr::Family;", &["plan", "route"]), ["addr"]);
        assert_eq!(named("mod tests { use super::*; use super::super::addr; }", &["plan"]), ["addr"]);
        assert_eq!(named("pub(super) fn f() {}", &["plan"]), [""; 0]);
    }

    #[test]
    fn comments_and_strings_name_nothing() {
        assert_eq!(
            named("//! [`crate::cluster`]\n/// crate::k8s\nconst A: &str = \"crate::compile::x\";", &["a"]),
            [""; 0]
        );
    }
}
