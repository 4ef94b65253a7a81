//! Dumps as tools lay them out.

use expect_test::expect;

use super::{check, load_all, shown};

#[test]
fn the_kind_of_bare_arrays_is_in_the_files_name() {
    let pods = br#"[{"metadata":{"name":"a","namespace":"x"}},{"metadata":{"name":"b","namespace":"x"}}]"#;
    let services = br#"[{"apiVersion":"v1","kind":"Service","metadata":{"name":"s","namespace":"x"}}]"#;
    let loaded = load_all(&[
        ("resources/ns/x/Pods.json", pods),
        ("resources/ns/x/core_v1_services.json", services),
        ("resources/ns/x/networking.k8s.io_v1_networkpolicies.json", b"[]"),
        ("resources/ns/x/LimitRanges.json", br#"[{"metadata":{"name":"l"}}]"#),
        ("nodes.json", br#"{"metadata":{},"items":[{"metadata":{"name":"n"}}]}"#),
        ("pods.yaml", b"- metadata: {name: c}\n- {apiVersion: v1, kind: Node, metadata: {name: m}}\n"),
        ("unknown.json", br#"[{"metadata":{"name":"u"}}]"#),
    ]);
    expect![[r#"
        Node m (pods.yaml:2)
        Node n (nodes.json:1)
        Pod default/c (pods.yaml:1)
        Pod x/a (resources/ns/x/Pods.json:1)
        Pod x/b (resources/ns/x/Pods.json:1)
        Service x/s (resources/ns/x/core_v1_services.json:1)
        other  LimitRange l (resources/ns/x/LimitRanges.json:1)
        collected LimitRange
        collected NetworkPolicy
        collected Node
        collected Pod
        collected Service
        unknown.json:1:3: error[no-kind]: an object without a kind
            help: say what it is, such as kind: Pod
    "#]]
    .assert_eq(&shown(&loaded));
}

#[test]
fn what_cluster_info_dump_prints_loads_without_the_logs() {
    let text = "{\n    \"kind\": \"NodeList\",\n    \"apiVersion\": \"v1\",\n    \"items\": [\n        {\"metadata\": {\"name\": \"n\"}}\n    ]\n}\n{\"kind\": \"ReplicationControllerList\", \"apiVersion\": \"v1\", \"items\": []}\n==== START logs for container web of pod x/a ====\n{\"not\": \"an object\n==== START nothing\nkind: Pod\n==== END logs for container web of pod x/a ====\n==== START logs for container b of pod x/a ====\n==== END logs for container b of pod x/a ====\n{\"kind\": \"PodList\", \"apiVersion\": \"v1\", \"items\": [{\"metadata\": {\"name\": \"a\", \"namespace\": \"x\"}}]}\n";
    let nodes_and_pods = expect![[r#"
        Node n (-:5)
        Pod x/a (-:16)
        collected Node
        collected Pod
        collected ReplicationController
    "#]];
    nodes_and_pods.assert_eq(&shown(&load_all(&[("-", text.as_bytes())])));
    // Logs may hold any bytes.
    let bytes = text.replace("START nothing", "\u{1}").into_bytes();
    let bytes: alloc::vec::Vec<u8> = bytes.into_iter().map(|b| if b == 1 { 0xff } else { b }).collect();
    nodes_and_pods.assert_eq(&shown(&load_all(&[("-", &bytes)])));
    check(
        "-",
        "apiVersion: v1\nkind: NodeList\nitems:\n- metadata: {name: node}\n==== START logs for container web of pod x/a ====\n\tkind: [\n==== END logs for container web of pod x/a ====\n---\napiVersion: v1\nkind: PodList\nitems: []\n==== START logs for container web of pod x/a ====\ncut off",
        expect![[r#"
            Node node (-:4)
            collected Node
            collected Pod
        "#]],
    );
}

#[test]
fn json_values_follow_one_another() {
    check(
        "-",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}} {\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"b\"}}\n---\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\n \"metadata\":{\"name\":\"c\"}}\n---\n{apiVersion: v1, kind: Pod, metadata: {name: d}}\n",
        expect![[r#"
            Pod default/a (-:1)
            Pod default/b (-:1)
            Pod default/c (-:3)
            Pod default/d (-:6)
        "#]],
    );
}

#[test]
fn of_json_that_is_cut_off_or_broken_the_good_items_load() {
    let text = "{\"kind\":\"List\",\"apiVersion\":\"v1\",\"items\":[\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}},\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"meta";
    check(
        "x.json",
        text,
        expect![[r#"
            Pod default/a (x.json:2)
            x.json:3:37: error[json-syntax]: not JSON: it ends in the middle; the complete items before it are loaded (1)
        "#]],
    );
    check(
        "x.json",
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",]}\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"b\"}}\n",
        expect![[r#"
            Pod default/b (x.json:2)
            x.json:1:33: error[json-syntax]: not JSON: key must be a string
        "#]],
    );
}

#[test]
fn an_object_with_items_is_no_list() {
    check(
        "x.json",
        r#"{"apiVersion":"example.com/v1","kind":"Basket","metadata":{"name":"b"},"items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"inner"}}]}"#,
        expect![[r#"
            other example.com/v1 Basket b (x.json:1)
        "#]],
    );
}
