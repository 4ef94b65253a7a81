//! The corpus passes, and its driver passes nothing over.

use std::fs;
use std::path::{Path, PathBuf};

use kubenet_tests::corpus::{self, Counts, Report, UNSUPPORTED};

#[test]
fn every_case_passes_or_its_set_is_listed_as_unsupported() {
    let report = corpus::run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus"));
    assert!(report.is_good(), "\n{report}");
    for (set, reason) in UNSUPPORTED {
        let below = report.sets().keys().any(|name| name == set || name.starts_with(&format!("{set}/")));
        assert!(below, "{set} ({reason}) is listed as unsupported and has no case");
    }
}

/// A corpus of the given files, in a folder of its own.
fn run(name: &str, files: &[(&str, &str)]) -> Report {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    if root.exists() {
        fs::remove_dir_all(&root).expect("a folder of this test");
    }
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a writable folder");
        fs::write(path, text).expect("a writable file");
    }
    corpus::run(&root)
}

fn lines(report: &Report) -> Vec<String> {
    report.to_string().lines().map(Into::into).collect()
}

#[test]
fn a_wrong_expectation_is_told_with_what_was_expected_and_what_came() {
    let text = "schema: kubenet/facts/alloc-band/v1\nnodePort:\n- {size: 2768, offset: 87}\n- {size: 10, offset: 0}\n";
    let report = run("wrong", &[("services/facts/alloc.yaml", text)]);
    assert!(!report.is_good());
    assert_eq!(
        lines(&report),
        [
            "FAIL facts/alloc-band services/facts/alloc.yaml#nodePort[0]: offset: expected 87, got 86",
            "facts/alloc-band: 1 passed, 1 failed, 0 unsupported",
        ]
    );
}

#[test]
fn a_case_that_lacks_what_its_schema_asks_for_fails() {
    let text = "schema: kubenet/facts/cidrset/v1\nindex_to_block:\n- {cluster: 10.0.0.0/16, index: 1}\n";
    let report = run("lacking", &[("a.yaml", text)]);
    assert_eq!(lines(&report)[0], "FAIL facts/cidrset a.yaml#index_to_block[0]: the case has no \"mask\"");
}

#[test]
fn a_list_that_the_layout_does_not_name_fails() {
    let text = "schema: kubenet/facts/alloc-band/v1\nnodePorts:\n- {size: 10, offset: 0}\n";
    let report = run("unnamed-list", &[("a.yaml", text)]);
    let line =
        "FAIL facts/alloc-band a.yaml#nodePorts: the layout of \"facts/alloc-band\" has no \"nodePorts\"";
    assert_eq!(lines(&report)[0], line);
}

#[test]
fn a_set_that_nobody_knows_fails_by_name() {
    let report = run(
        "unknown",
        &[("dns/reverse.jsonl", "{\"id\": \"r-1\"}\n"), ("x.yaml", "schema: kubenet/facts/colours/v1\n")],
    );
    assert!(!report.is_good());
    let told = lines(&report);
    assert!(told[0].starts_with("FAIL dns/reverse dns/reverse.jsonl#r-1: not supported"), "{told:?}");
    assert!(told[1].starts_with("FAIL facts/colours x.yaml: not supported"), "{told:?}");
}

#[test]
fn a_listed_set_is_counted_case_by_case_and_does_not_fail() {
    let report = run(
        "listed",
        &[
            ("dns/query.jsonl", "{\"id\": \"q-1\"}\n\n{\"id\": \"q-2\"}\n"),
            ("netpol/INDEX.tsv", "source\tid\n"),
            ("netpol/spec/one/case.json", "{}"),
            ("netpol/spec/one/manifests.yaml", "kind: Pod\n"),
            ("netpol/spec/one/expected.tsv", "src\tdst\n"),
            ("gateway/worlds/w.json", "not read"),
            ("SCHEMA.md", "# Cases\n"),
        ],
    );
    assert!(report.is_good(), "{report}");
    let unsupported = |unsupported| Counts { unsupported, ..Counts::default() };
    let sets = [("dns/query".to_string(), unsupported(2)), ("netpol/spec".to_string(), unsupported(1))];
    assert_eq!(report.sets(), &sets.into());
}

#[test]
fn files_that_are_no_cases_fail() {
    let report = run(
        "strays",
        &[
            ("a.yaml", "no: schema\n"),
            ("b.yaml", "{"),
            ("c.txt", "text"),
            ("dns/query.jsonl", "{\"id\": \"q-1\"}\n{\"id\": \"q-1\"}\nnot json\n"),
        ],
    );
    let failed: Vec<&str> = report.failures().iter().map(|failure| failure.id.as_str()).collect();
    assert_eq!(failed, ["a.yaml", "b.yaml", "c.txt", "dns/query.jsonl#q-1", "dns/query.jsonl:3"]);
}

#[test]
fn a_folder_without_cases_is_not_good() {
    assert!(!run("nothing", &[("README.md", "# Nothing\n")]).is_good());
}

#[test]
fn a_set_that_is_named_alone_is_known_by_its_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/dns");
    let report = corpus::run(&root);
    assert!(report.is_good(), "{report}");
    assert!(report.sets().contains_key("dns/query"), "{report}");
}
