//! The tree is as the project wants it.

use std::sync::LazyLock;

use kubenet_tests::tidy::{self, File};

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    tidy::files(&tidy::root()).unwrap_or_else(|error| panic!("the files of the repository: {error}"))
});

fn check(offences: Vec<String>) {
    assert!(FILES.len() > 100, "only {} files were found", FILES.len());
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn the_layers_are_in_order() {
    check(tidy::order());
}

#[test]
fn no_module_names_one_above_it() {
    check(tidy::layering(&FILES));
}

#[test]
fn the_dataplane_knows_no_kubernetes() {
    check(tidy::dataplane_words(&FILES));
}

#[test]
fn every_file_opens_with_what_it_is() {
    check(tidy::headers(&FILES));
}

#[test]
fn nothing_is_left_unfinished() {
    check(tidy::unfinished(&FILES));
}

#[test]
fn no_line_has_tabs_or_blanks_at_its_end() {
    check(tidy::form(&FILES));
}

#[test]
fn no_file_is_longer_than_one_reads() {
    check(tidy::length(&FILES));
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    check(tidy::foreign_words(&FILES));
}

#[test]
fn links_between_documents_lead_somewhere() {
    check(tidy::links(&FILES, &tidy::root()));
}

#[test]
fn no_banned_crate_is_in_the_lock_file() {
    let read = |path: &str| FILES.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let (deny, lock) = (read("deny.toml").expect("deny.toml"), read("Cargo.lock").expect("Cargo.lock"));
    check(tidy::banned_crates(deny, lock).expect("TOML"));
}
