//! A dump of pods as servers print them: what controllers note, statuses and all.

#![allow(unreachable_pub, reason = "shared by benches")]

use std::fmt::Write as _;
use std::sync::LazyLock;

use kubenet_core::k8s::load::{LoadOptions, Loaded, Source, load};
use serde_json::{Value, json};

/// How many pods.
pub const PODS: usize = 10_000;

/// As `kubectl get pods -A -o json` prints them.
pub static JSON: LazyLock<String> = LazyLock::new(|| {
    let mut text = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, style);
    serde::Serialize::serialize(&list(PODS), &mut writer).expect("writing to memory");
    String::from_utf8(text).expect("JSON is text")
});

/// As an API server sends them.
pub static COMPACT: LazyLock<String> = LazyLock::new(|| list(PODS).to_string());

/// As `kubectl get pods -A -o yaml` prints them.
pub static YAML: LazyLock<String> = LazyLock::new(|| {
    let mut text = String::new();
    yaml(&list(PODS), 0, &mut text);
    text
});

/// Loads one text.
pub fn loaded(name: &str, text: &str) -> Loaded {
    load(&[Source { name, bytes: text.as_bytes() }], &LoadOptions::default())
}

/// Panics if a dump does not load whole.
pub fn check() {
    for (name, text) in [("json", &*JSON), ("compact", &*COMPACT), ("yaml", &*YAML)] {
        let loaded = loaded(name, text);
        assert_eq!(loaded.objects.pods.len(), PODS, "{name}");
        assert!(loaded.diagnostics.is_empty(), "{name}: {:?}", loaded.diagnostics.first());
    }
}

fn list(pods: usize) -> Value {
    let items: Vec<Value> = (0..pods).map(pod).collect();
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

fn pod(i: usize) -> Value {
    let (app, node) = (i / 10, i % 200);
    let name = format!("app-{app}-6d4b75cb6d-{i:05x}");
    let uid = format!("{i:08x}-9d3c-4d55-8f4a-1f6f5e0c2b7a");
    let ip = format!("10.{}.{}.{}", 64 + node / 256, node % 256, i / 200 + 2);
    let condition = |kind: &str| json!({"lastProbeTime": null, "lastTransitionTime": "2026-03-01T10:00:00Z", "status": "True", "type": kind});
    let fields = json!({
        "f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"main\"}": {".": {}, "f:image": {}, "f:name": {}, "f:ports": {}}}},
    });
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "annotations": {"checksum/config": format!("{:064x}", i * 7919), "prometheus.io/scrape": "true"},
            "creationTimestamp": "2026-03-01T10:00:00Z",
            "generateName": format!("app-{app}-6d4b75cb6d-"),
            "labels": {"app": format!("app-{app}"), "pod-template-hash": "6d4b75cb6d", "tier": "backend"},
            "managedFields": [{
                "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields,
                "manager": "kube-controller-manager", "operation": "Update", "time": "2026-03-01T10:00:00Z",
            }],
            "name": name,
            "namespace": format!("team-{}", app % 40),
            "ownerReferences": [{
                "apiVersion": "apps/v1", "blockOwnerDeletion": true, "controller": true, "kind": "ReplicaSet",
                "name": format!("app-{app}-6d4b75cb6d"), "uid": uid,
            }],
            "resourceVersion": format!("{}", 100_000 + i),
            "uid": uid,
        },
        "spec": {
            "containers": [{
                "args": ["--listen=:8080", "--log-level=info"],
                "env": [
                    {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
                    {"name": "LOG_FORMAT", "value": "json"},
                ],
                "image": "registry.example.com/team/app:1.2.3",
                "imagePullPolicy": "IfNotPresent",
                "livenessProbe": {
                    "failureThreshold": 3, "httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"},
                    "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1,
                },
                "name": "main",
                "ports": [
                    {"containerPort": 8080, "name": "http", "protocol": "TCP"},
                    {"containerPort": 9090, "name": "metrics", "protocol": "TCP"},
                ],
                "readinessProbe": {
                    "failureThreshold": 3, "httpGet": {"path": "/ready", "port": "http", "scheme": "HTTP"},
                    "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1,
                },
                "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "volumeMounts": [{
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                    "name": "kube-api-access-x2v5d", "readOnly": true,
                }],
            }],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": true,
            "nodeName": format!("node-{node}"),
            "preemptionPolicy": "PreemptLowerPriority",
            "priority": 0,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "serviceAccount": "default",
            "serviceAccountName": "default",
            "terminationGracePeriodSeconds": 30,
            "tolerations": [
                {"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300},
                {"effect": "NoExecute", "key": "node.kubernetes.io/unreachable", "operator": "Exists", "tolerationSeconds": 300},
            ],
            "volumes": [{"name": "kube-api-access-x2v5d", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            ]}}],
        },
        "status": {
            "conditions": [
                condition("Initialized"), condition("Ready"), condition("ContainersReady"), condition("PodScheduled"),
            ],
            "containerStatuses": [{
                "containerID": format!("containerd://{:064x}", i * 104_729), "image": "registry.example.com/team/app:1.2.3",
                "imageID": format!("registry.example.com/team/app@sha256:{:064x}", 1), "lastState": {}, "name": "main",
                "ready": true, "restartCount": 0, "started": true, "state": {"running": {"startedAt": "2026-03-01T10:00:03Z"}},
            }],
            "hostIP": format!("172.18.0.{node}"),
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "qosClass": "Burstable",
            "startTime": "2026-03-01T10:00:00Z",
        },
    })
}

/// Block style without indented sequences, as kubectl prints.
fn yaml(value: &Value, indent: usize, out: &mut String) {
    let full = |value: &Value| {
        value.as_object().is_some_and(|map| !map.is_empty())
            || value.as_array().is_some_and(|items| !items.is_empty())
    };
    match value {
        Value::Object(map) => {
            for (place, (key, value)) in map.iter().enumerate() {
                if place > 0 {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
                out.push_str(&word(key));
                out.push(':');
                match full(value) {
                    true if value.is_object() => {
                        out.push('\n');
                        out.extend(std::iter::repeat_n(' ', indent + 2));
                        yaml(value, indent + 2, out);
                    }
                    true => {
                        out.push('\n');
                        out.extend(std::iter::repeat_n(' ', indent));
                        yaml(value, indent, out);
                    }
                    false => writeln!(out, " {}", scalar(value)).expect("writing to memory"),
                }
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    out.extend(std::iter::repeat_n(' ', indent));
                }
                out.push_str("- ");
                match full(item) {
                    true => yaml(item, indent + 2, out),
                    false => writeln!(out, "{}", scalar(item)).expect("writing to memory"),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            writeln!(out, "{}", scalar(value)).expect("writing to memory");
        }
    }
}

fn scalar(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), word)
}

/// A word without quotes if it means itself.
fn word(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-./_".contains(c))
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&&*text.to_lowercase());
    if plain { text.into() } else { Value::from(text).to_string() }
}
