//! Secret data and values of environment variables are neither kept nor told.

use alloc::format;
use alloc::string::String;

use super::{load_all, shown};

const PLANTED: &str = "hunter2planted";

/// Everything that could show a value.
fn everything(loaded: &super::Loaded) -> String {
    let mut text = format!("{loaded:?}{}", shown(loaded));
    for object in loaded.objects.iter() {
        text += &format!("{object:?}");
    }
    let objects = &loaded.objects;
    text += &serde_json::to_string(&objects.pods.values().collect::<alloc::vec::Vec<_>>()).expect("JSON");
    text +=
        &serde_json::to_string(&objects.deployments.values().collect::<alloc::vec::Vec<_>>()).expect("JSON");
    text +=
        &serde_json::to_string(&objects.config_maps.values().collect::<alloc::vec::Vec<_>>()).expect("JSON");
    text += &serde_json::to_string(&loaded.diagnostics).expect("JSON");
    text
}

#[test]
fn planted_secrets_are_nowhere_in_what_is_loaded() {
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\n  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: '{{\"data\":{{\"a\":\"{PLANTED}\"}}}}'\ndata: {{a: {PLANTED}, a: {PLANTED}, 12: {PLANTED}, b: [{PLANTED}], c: !!binary {PLANTED}}}\nstringData: {PLANTED}\n"
    );
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: |\n      {{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{{\"containers\":[{{\"env\":[{{\"name\":\"A\",\"value\":\"{PLANTED}\"}}]}}]}}}}\n    example.com/original: '{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"x\":\"{PLANTED}\"}}'\nspec:\n  containers:\n  - name: c\n    image: 5\n    env: [{{name: A, value: {PLANTED}}}, {{name: B, value: {PLANTED}, value: {PLANTED}}}, {PLANTED}]\n"
    );
    let deployment = format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"d"}},"spec":{{"replicas":"x","template":{{"spec":{{"containers":[{{"name":"c","env":[{{"name":"A","value":"{PLANTED}","value":"{PLANTED}"}}]}}]}}}}}}}}"#
    );
    let secrets = format!(
        r#"{{"apiVersion":"v1","kind":"SecretList","items":[{{"metadata":{{"name":"t"}},"data":{{"a":"{PLANTED}"}}}},{{"metadata":5,"data":{{"a":"{PLANTED}"}}}}]}}"#
    );
    let config =
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: app}}\ndata: {{password: {PLANTED}}}\n");
    let broken =
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: u}}\ndata:\n  a: {PLANTED}: {PLANTED}\n");
    let cut = format!(
        r#"{{"apiVersion":"v1","kind":"Secret","metadata":{{"name":"v"}},"data":{{"a":"{PLANTED}","b":"{PLANTED}\q"#
    );
    let loaded = load_all(&[
        ("a.yaml", secret.as_bytes()),
        ("b.yaml", pod.as_bytes()),
        ("c.json", deployment.as_bytes()),
        ("d.json", secrets.as_bytes()),
        ("e.yaml", config.as_bytes()),
        ("f.yaml", broken.as_bytes()),
        ("g.json", cut.as_bytes()),
    ]);
    assert_eq!((loaded.objects.pods.len(), loaded.objects.deployments.len()), (1, 1));
    assert!(loaded.objects.count("Secret") >= 2);
    // There is something to tell about nearly every one of them.
    assert!(loaded.diagnostics.len() >= 6, "{}", shown(&loaded));
    let text = everything(&loaded);
    let place = text.find(PLANTED);
    assert_eq!(place, None, "{}", &text[place.unwrap_or(0).saturating_sub(200)..]);
}

#[test]
fn config_maps_of_the_network_keep_their_data() {
    let loaded = load_all(&[(
        "x.yaml",
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-proxy, namespace: kube-system}\ndata: {config.conf: 'mode: ipvs'}\n",
    )]);
    let map = loaded.objects.config_maps.values().next().expect("a map");
    assert_eq!(&*map.data["config.conf"], "mode: ipvs");
}
