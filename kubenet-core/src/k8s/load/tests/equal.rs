//! The same values as serde-saphyr reads, and as JSON gives.

use alloc::format;
use alloc::string::String;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::load_one;

/// Reads one YAML value with our reader: as the `spec.selector` of a Deployment, which is kept as it is.
fn ours(yaml: &str) -> Value {
    let indented: String = yaml.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: a}}\nspec:\n  selector:\n{indented}"
    );
    let loaded = load_one("x.yaml", &text);
    assert_eq!(loaded.diagnostics, [], "{text}");
    let deployment = loaded.objects.deployments.values().next().expect("a deployment");
    deployment.spec.selector.clone().unwrap_or_default()
}

fn oracle(yaml: &str) -> Value {
    let options = serde_saphyr::options! { budget: None };
    serde_saphyr::from_str_with_options(yaml, options).expect("YAML")
}

#[test]
fn values_are_those_of_serde_saphyr() {
    for yaml in [
        "a: b",
        "a: 'it''s'\nb: \"x\\n\\u00e9\\\"\"",
        "a: |\n  one\n  two\n\n",
        "a: |-\n  one\n  two",
        "a: >\n  one\n  two\n\n  three\n",
        "a: plain text\n  that goes on",
        "a:\n- b\n- - c\n  - d\n- {e: f, g: [h, 1, -2, 3.5]}",
        "a: true\nb: false\nc: null\nd: ~\ne:",
        "a: \"\"\nb: ''",
        "a: &x {b: c}\nd: *x",
        "a: {\"b\": \"c\", 'd': e}",
        "a: http://example.com:80/#x # comment",
        "a: [b, c,]\n",
        "? a\n: b",
        "a: !!str 12",
        "a: 0.5\nb: 1e-3\nc: -0.25",
        "a: 9223372036854775807\nb: 18446744073709551615",
        "a: - b\n".trim_end_matches("- b\n"),
    ] {
        assert_eq!(ours(yaml), oracle(yaml), "{yaml}");
    }
}

fn values() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        "[a-zA-Z0-9 _./:#&*!|>'\"%@`{}\\[\\],?-]{0,12}",
        "[ -~\\n\\t\u{e9}\u{1f600}]{0,20}",
        Just("yes".into()),
        Just("12".into()),
        Just("~".into()),
        Just("<<".into()),
        Just("0x1f".into()),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1_000_000i32..1_000_000).prop_map(|n| json!(f64::from(n) + 0.5)),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(word.clone(), inner, 0..6)
                .prop_map(|map| Value::from(map.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Block style, with all texts in double quotes.
fn block(value: &Value, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                *out += &format!("{pad}{}:", Value::from(key.as_str()));
                nested(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                *out += &format!("{pad}-");
                nested(item, indent, out);
            }
        }
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => {
            *out += &format!("{pad}{value}\n");
        }
    }
}

fn nested(value: &Value, indent: usize, out: &mut String) {
    let full = value.as_object().is_some_and(|map| !map.is_empty())
        || value.as_array().is_some_and(|items| !items.is_empty());
    if full {
        out.push('\n');
        block(value, indent + 2, out);
    } else {
        *out += &format!(" {value}\n");
    }
}

proptest! {
    #[test]
    fn yaml_and_json_give_the_value_that_was_written(value in values()) {
        let mut yaml = String::new();
        block(&json!({"x": value}), 0, &mut yaml);
        let read = ours(&yaml);
        prop_assert_eq!(&read["x"], &value, "{}", yaml);
        prop_assert_eq!(oracle(&yaml), read, "{}", yaml);
        // In flow style, as JSON in YAML.
        let flow = format!("x: {value}");
        prop_assert_eq!(&ours(&flow)["x"], &value, "{}", flow);
    }

    #[test]
    fn json_gives_the_objects_that_yaml_gives(
        name in "[a-z]{1,8}",
        port in 1u16..,
        target in prop_oneof![any::<u16>().prop_map(Value::from), "[a-z]{1,5}".prop_map(Value::from), Just(Value::Null)],
        labels in proptest::collection::btree_map("[a-z./]{1,9}", "[ -~]{0,9}", 0..4),
        wrong in any::<bool>(),
    ) {
        let mut ports = alloc::vec![json!({"port": port, "targetPort": target, "x": null})];
        ports.extend(wrong.then(|| json!({"port": "x"})));
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": labels}, "spec": {"ports": ports},
        });
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [service, {"kind": "Pod", "metadata": {"name": "p"}}]});
        let mut text = String::new();
        block(&list, 0, &mut text);
        let (yaml, compact) = (load_one("x.yaml", &text), load_one("x.json", &format!("{list}")));
        let indented = load_one("x.json", &format!("{list:#}"));
        for json in [compact, indented] {
            let values = |loaded: &super::Loaded| {
                let services = loaded.objects.services.values().map(|service| service.value.clone());
                let told = loaded.diagnostics.iter().map(|found| found.message.clone());
                (services.collect::<alloc::vec::Vec<_>>(), loaded.objects.pods.len(), told.collect::<alloc::vec::Vec<_>>())
            };
            prop_assert_eq!(values(&json), values(&yaml));
        }
    }
}
