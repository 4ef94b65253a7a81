//! YAML as people write it.

use expect_test::expect;

use super::{check, errors, load_one};

#[test]
fn many_documents_empty_ones_and_comments_load() {
    let text = "# first\n---\n---\n# only a comment\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\n...\n---\n~\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: b\n---\n";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Namespace b (x.yaml:13)
            Service default/a (x.yaml:6)
        "#]],
    );
    check("x.yaml", "", expect![[""]]);
    check("x.yaml", "# nothing\n", expect![[""]]);
    check("x.yaml", "---\n", expect![[""]]);
}

#[test]
fn lists_lists_of_lists_and_typed_lists_load() {
    let text = "
apiVersion: v1
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: a}
- apiVersion: v1
  kind: List
  items:
  - {apiVersion: v1, kind: Pod, metadata: {name: b}}
  - apiVersion: v1
    kind: ServiceList
    items: [{metadata: {name: c}}]
kind: List
---
apiVersion: v1
kind: PodList
items:
- metadata: {name: d}
-
---
items: [{metadata: {name: e}}]
kind: NetworkPolicyList
apiVersion: networking.k8s.io/v1
---
kind: IngressList
apiVersion: networking.k8s.io/v1
items: []
";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Pod default/a (x.yaml:4)
            Pod default/b (x.yaml:10)
            Pod default/d (x.yaml:19)
            Service default/c (x.yaml:13)
            NetworkPolicy default/e (x.yaml:22)
            collected Ingress
            collected NetworkPolicy
            collected Pod
            collected Service
        "#]],
    );
}

#[test]
fn anchors_aliases_and_merge_keys_are_expanded() {
    let loaded = load_one(
        "x.yaml",
        "
apiVersion: v1
kind: Pod
x-common: &common {app: web, tier: front}
metadata:
  name: a
  labels:
    <<: *common
    tier: back
  annotations: *common
spec:
  containers:
  - &main {name: main, ports: [&port {containerPort: 80}]}
  - <<: [*main, {image: nginx, name: lost}]
    name: second
    ports: [*port]
",
    );
    assert_eq!(errors(&loaded), [""; 0]);
    let pod = loaded.objects.pods.values().next().expect("a pod");
    let labels: alloc::vec::Vec<(&str, &str)> =
        pod.metadata.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(labels, [("app", "web"), ("tier", "back")]);
    assert_eq!(pod.metadata.annotations["tier"], "front".into());
    let second = &pod.spec.containers[1];
    assert_eq!((&*second.name, second.image.as_deref()), ("second", Some("nginx")));
    assert_eq!(second.ports, pod.spec.containers[0].ports);
}

#[test]
fn a_merge_overrides_what_is_above_it_as_kubectl_has_it() {
    // kubectl 1.32: the name is `q`.
    let text = "apiVersion: v1\nkind: Pod\nx: &a {name: q}\nmetadata:\n  name: above\n  <<: *a\n";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Pod default/q (x.yaml:1)
            x.yaml:3:8: warning[duplicate-key]: the key name stands twice in one mapping; the last one counts
                the first one is here: x.yaml:5:3
        "#]],
    );
}

#[test]
fn aliases_that_stand_for_nothing_or_themselves_are_told() {
    check(
        "x.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: *none}\nspec: &s\n  hostname: *s\n",
        expect![[r#"
            Pod default/a (x.yaml:1)
            x.yaml:3:29: error[yaml-alias]: the alias *none stands for nothing: no &none is above it
            x.yaml:5:13: error[yaml-alias]: the alias *s stands for something that it is itself part of
        "#]],
    );
}

#[test]
fn of_equal_keys_the_last_counts_and_both_are_shown() {
    let many: alloc::string::String = (0..40).map(|i| alloc::format!("    k{i}: v\n")).collect();
    let text = alloc::format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  name: b\n  labels:\n{many}    k3: w\n"
    );
    check(
        "x.yaml",
        &text,
        expect![[r#"
            Pod default/b (x.yaml:1)
            x.yaml:47:5: warning[duplicate-key]: the key k3 stands twice in one mapping; the last one counts
                the first one is here: x.yaml:10:5
            x.yaml:5:3: warning[duplicate-key]: the key name stands twice in one mapping; the last one counts
                the first one is here: x.yaml:4:3
        "#]],
    );
}

#[test]
fn words_that_yaml_1_1_takes_for_booleans_are_told_with_the_quotes_to_use() {
    let text = "
apiVersion: v1
kind: Service
metadata: {name: a, namespace: y}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {on: up, 12: x, feature: off}}
spec: {nodeName: yes, containers: [{name: c, image: 1.20, command: [run, on]}]}
";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Pod default/p (x.yaml:6)
            x.yaml:4:32: error[field]: Service default/a: metadata.namespace is the boolean that YAML 1.1 makes of an unquoted y, not text; the Service is left out
                help: write "y": kubectl reads YAML 1.1, where unquoted y, n, yes, no, on, off, true and false are booleans
            x.yaml:8:30: warning[yaml-key]: the key on is read as "true"
                help: write "on": unquoted it is no text in YAML 1.1, which kubectl reads
            x.yaml:8:54: error[field]: Pod default/p: metadata.labels.feature is the boolean that YAML 1.1 makes of an unquoted off, not text
                help: write "off": kubectl reads YAML 1.1, where unquoted y, n, yes, no, on, off, true and false are booleans
            x.yaml:9:18: error[field]: Pod default/p: spec.nodeName is the boolean that YAML 1.1 makes of an unquoted yes, not text
                help: write "yes": kubectl reads YAML 1.1, where unquoted y, n, yes, no, on, off, true and false are booleans
            x.yaml:9:53: error[field]: Pod default/p: spec.containers[0].image is the number 1.20, not text
                help: write "1.20"
            x.yaml:9:74: error[field]: Pod default/p: spec.containers[0].command[1] is the boolean that YAML 1.1 makes of an unquoted on, not text
                help: write "on": kubectl reads YAML 1.1, where unquoted y, n, yes, no, on, off, true and false are booleans
        "#]],
    );
}

#[test]
fn numbers_are_those_of_yaml_1_1() {
    let ports =
        "[{port: 0x50}, {port: 010}, {port: 0o17}, {port: 8_0}, {port: 80.0}, {port: 80e0}, {port: ~}]";
    let loaded = load_one(
        "x.yaml",
        &alloc::format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{ports: {ports}}}\n"),
    );
    assert_eq!(errors(&loaded), [""; 0]);
    let service = loaded.objects.services.values().next().expect("a service");
    let ports: alloc::vec::Vec<u16> = service.spec.ports.iter().map(|port| port.port).collect();
    assert_eq!(ports, [80, 8, 15, 80, 80, 80, 0]);
}

#[test]
fn tags_say_what_a_scalar_is() {
    check(
        "x.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {a: !!str yes, b: !x 12, c: ! 12, d: !!int \"12\", e: !!binary aGk=}\n",
        expect![[r#"
            Pod default/a (x.yaml:1)
            x.yaml:5:72: error[yaml-tag]: a !!binary value is not read: write the text itself
            x.yaml:5:54: error[field]: Pod default/a: metadata.labels.d is the number 12, not text
                help: write "12"
        "#]],
    );
}

#[test]
fn crlf_and_a_byte_order_mark_do_no_harm() {
    let text = "\u{feff}apiVersion: v1\r\nkind: Pod\r\nmetadata:\r\n  name: a\r\n---\r\napiVersion: v1\r\nkind: Pod\r\nmetadata: {name: b}\r\n";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Pod default/a (x.yaml:1)
            Pod default/b (x.yaml:6)
        "#]],
    );
}

#[test]
fn after_an_error_of_syntax_the_next_document_loads() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: a\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: c}\n";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Pod default/c (x.yaml:10)
            x.yaml:4:2: error[yaml-syntax]: not YAML: tabs disallowed within this context (block indentation)
                help: YAML is indented with spaces, never with tabs
            x.yaml:8:11: error[yaml-syntax]: not YAML: unclosed bracket '{'
        "#]],
    );
}

#[test]
fn what_is_complete_in_a_list_before_an_error_loads() {
    let text = "apiVersion: v1\nkind: PodList\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n- metadata: {name: b}\n- metadata: {name: c\n";
    let loaded = load_one("x.yaml", text);
    assert_eq!(loaded.objects.pods.len(), 2);
    assert_eq!(errors(&loaded).len(), 1);
}

#[test]
fn a_separator_that_is_glued_to_the_last_line_is_split_off() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n  containers:\n  - {}---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {}---\nkind: Pod\napiVersion: v1\nmetadata: {name: c}\n";
    check(
        "x.yaml",
        text,
        expect![[r#"
            Pod default/a (x.yaml:1)
            Pod default/b (x.yaml:7)
            Pod default/c (x.yaml:11)
            x.yaml:6:7: warning[yaml-joined]: a line break is missing before '---', and kubectl would refuse the file
                and here: x.yaml:10:9
                help: end each file with a line break before joining them
        "#]],
    );
}

#[test]
fn keys_that_cannot_be_text_are_told() {
    check(
        "x.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {~: x, ? [a] : b, c: d}\n",
        expect![[r#"
            Pod default/a (x.yaml:1)
            x.yaml:5:12: error[yaml-key]: null is no key: a key must be text
            x.yaml:5:20: error[yaml-key]: a list or mapping is no key: a key must be text
        "#]],
    );
}
