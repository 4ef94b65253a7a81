//! Input that means harm, or that is no text.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use expect_test::expect;
use proptest::prelude::*;

use super::{check, errors, load_all, load_one, shown};
use crate::k8s::load::{Limits, LoadOptions, Source, load};

#[test]
fn bytes_that_are_no_text_are_told_with_their_offset() {
    let good = b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n";
    let mut bytes = good.to_vec();
    bytes.extend(b"kind: \xff\n---\nkind: \0\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\n");
    expect![[r#"
        Pod default/a (x.yaml:1)
        Pod default/b (x.yaml:9)
        x.yaml:5:7: error[encoding]: x.yaml is not text: byte 55 is 0xff, which is not UTF-8 there
            help: documents with such bytes are left out; archives must be unpacked first
    "#]]
    .assert_eq(&shown(&load_all(&[("x.yaml", &bytes)])));
    expect![[r#"
        x.yaml:1:1: error[encoding]: x.yaml is UTF-16, not UTF-8
            help: convert it: iconv -f UTF-16 -t UTF-8 x.yaml; PowerShell writes UTF-8 with '| Out-File -Encoding utf8'
    "#]]
    .assert_eq(&shown(&load_all(&[("x.yaml", b"\xff\xfek\0i\0n\0d\0")])));
    assert_eq!(errors(&load_one("x.json", "{\"kind\": \"Po\0d\"}")).len(), 1);
}

#[test]
fn aliases_of_aliases_of_aliases_stop_at_a_limit() {
    let mut text = String::from("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nx0: &x0 [lol, lol, lol]\n");
    for i in 1..30 {
        let refs = format!("*x{}, ", i - 1).repeat(9);
        text += &format!("x{i}: &x{i} [{refs}]\n");
    }
    text += "---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\n";
    let loaded = load_one("x.yaml", &text);
    assert_eq!(loaded.objects.pods.len(), 1);
    let told = errors(&loaded);
    assert!(told.len() == 1 && told[0].contains("bytes that aliases stand for"), "{told:?}");
    // A long text is paid for by its length.
    let long = "x".repeat(1 << 20);
    let text = format!("a: &a \"{long}\"\nb: [{}]\n", "*a, ".repeat(1000));
    assert!(errors(&load_one("x.yaml", &text))[0].contains("aliases"), "limit");
}

#[test]
fn deep_nesting_is_told_and_overflows_no_stack() {
    for (name, text) in [
        (
            "x.yaml",
            format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {}", "[".repeat(100_000)),
        ),
        ("x.yaml", format!("a: {}", "- ".repeat(50_000))),
        ("x.yaml", "{a: ".repeat(100_000)),
        ("x.json", "[".repeat(100_000)),
        ("x.json", format!("{}{}", "[".repeat(100_000), "]".repeat(100_000))),
        (
            "x.json",
            format!(
                "{{\"apiVersion\":\"apps/v1\",\"kind\":\"Deployment\",\"metadata\":{{\"name\":\"a\"}},\"spec\":{{\"selector\":{}1{}}}}}",
                "{\"a\":".repeat(5_000),
                "}".repeat(5_000)
            ),
        ),
        ("x.json", format!("{}{}", "{\"kind\":\"List\",\"items\":[".repeat(10_000), "]}".repeat(10_000))),
    ] {
        let loaded = load_one(name, &text);
        assert!(!loaded.diagnostics.is_empty(), "{name}: {}", &text[..40]);
    }
    // Fields that nothing reads may be as deep as they like in JSON.
    let text = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"a\"}},\"x\":{}{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let loaded = load_one("x.json", &text);
    assert_eq!((loaded.objects.pods.len(), loaded.diagnostics.len()), (1, 0));
}

#[test]
fn limits_are_kept() {
    let text = b"apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {a: b, c: d, e: f}}\n";
    let limited = |limits: Limits| {
        let options = LoadOptions { limits, ..LoadOptions::default() };
        let loaded = load(&[Source { name: "x.yaml", bytes: text }], &options);
        assert_eq!(loaded.objects.pods.len(), 0);
        assert_eq!(errors(&loaded).len(), 1);
        assert_eq!(loaded.diagnostics[0].code, "limit");
    };
    limited(Limits { bytes: 10, ..Limits::default() });
    limited(Limits { nodes: 5, ..Limits::default() });
}

#[test]
fn a_thousand_faults_in_one_object_are_not_told_one_by_one() {
    let ports = "{port: x}, ".repeat(1000);
    let loaded = load_one(
        "x.yaml",
        &format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{ports: [{ports}]}}\n"),
    );
    assert_eq!((loaded.objects.services.len(), errors(&loaded).len()), (0, 33));
}

#[test]
fn keys_of_very_large_mappings_are_compared_in_one_pass() {
    let labels: String = (0..50_000).map(|i| format!("k{i}: v, ")).collect();
    let loaded = load_one(
        "x.yaml",
        &format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a, labels: {{{labels}}}}}\n"),
    );
    assert_eq!(loaded.objects.pods.values().next().map(|pod| pod.metadata.labels.len()), Some(50_000));
}

#[test]
fn places_in_one_long_line_are_found_in_one_pass() {
    let items: Vec<String> = (0..20_000)
        .map(|i| format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"pod-{i}"}}}}"#))
        .collect();
    let text = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","));
    let loaded = load_one("x.json", &text);
    assert_eq!(loaded.objects.pods.len(), 20_000);
    let last = loaded.objects.pods.values().last().expect("a pod");
    let place = last.origin.location().expect("a place");
    assert_eq!(place.column as usize, place.start + 1);
    assert!(text[place.start..].starts_with("\"apiVersion\""));
}

#[test]
fn the_column_counts_characters_and_the_offset_bytes() {
    check(
        "x.yaml",
        "# äöü\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {externalName: \"äöü\", type: 1}\n",
        expect![[r#"
            Service default/a (x.yaml:2)
            x.yaml:5:35: error[field]: Service default/a: spec.type is the number 1, not text
                help: write "1"
        "#]],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        load_all(&[("x.yaml", &bytes), ("pods.json", &bytes)]);
    }

    #[test]
    fn no_text_of_yaml_panics(
        words in proptest::collection::vec(
            proptest::sample::select(&[
                "apiVersion: v1\n", "kind: Pod\n", "kind: List\n", "items:\n", "- ", "metadata:\n",
                "  name: a\n", "  ", "&a ", "*a", "<<: ", "{", "}", "[", "]", ",", ": ", "? ", "|\n",
                "---\n", "...\n", "\"", "'", "\n", "\t", "!!binary ", "ä", "y", "# x\n",
                "spec: {ports: [{port: 80000}]}\n", "\"kind\": \"Pod\"", "{}---\n",
            ][..]),
            0..40,
        )
    ) {
        let text: String = words.concat();
        for found in load_one("x.yaml", &text).diagnostics.iter().chain(&load_one("pods.json", &text).diagnostics) {
            let place = found.location.as_ref();
            prop_assert!(place.is_none_or(|place| place.start <= place.end && place.end <= text.len() + 1), "{found:?}");
        }
    }
}

#[test]
fn a_source_that_is_nothing_but_faults_is_given_up_in_time() {
    for (name, text) in [
        ("x.yaml", "a: b\na: c\n".repeat(50_000)),
        ("x.yaml", "{a: }}\n---\n".repeat(50_000)),
        ("x.yaml", "*a : 1\n".repeat(50_000)),
        ("-", "{\"a\": }\n".repeat(50_000)),
        ("-", "{\"kind\":\"List\",\"items\":[\n".repeat(20_000)),
        ("x.json", format!("{{{}\"kind\":\"Pod\"}}", "\"a\":1,".repeat(50_000))),
        ("x.yaml", "a: {}---\n".repeat(20_000)),
    ] {
        let loaded = load_one(name, &text);
        assert!((1..=102).contains(&loaded.diagnostics.len()), "{name}: {}", loaded.diagnostics.len());
    }
}
