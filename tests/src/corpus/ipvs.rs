//! `ipvs-state.yaml`: which virtual servers, sets and rules kube-proxy makes in mode `ipvs`.
//!
//! A case states its Service and endpoints, or leaves them to the test of kube-proxy that it names; those are written down here.

use kubenet_core::addr::Family;
use kubenet_core::assume::ProxyMode;
use kubenet_core::compile::service::{ProxyConfig, ruleset_of_objects};
use kubenet_core::k8s::Objects;
use kubenet_core::plan::xt::{Match, Rule, Target};
use kubenet_core::plan::{IpSetPart, Ruleset, VirtualId};
use serde_json::{Value, json};

use super::case::{Case, Difference, Fault, Judgement};

/// The own node, and its address in kube-proxy's tests.
const NODE: &str = "here";
const NODE_IP: &str = "100.101.102.103";
/// Frontends of the cases that name none.
const CLUSTER_IP: &str = "172.20.1.1";
const BALANCER: &str = "1.2.3.4";

/// Judges a case.
pub(super) fn ipvs_state(case: &Case<'_>) -> Judgement {
    let test = case.field("test")?.as_str().unwrap_or_default();
    let mut objects = Objects::default();
    for object in match case.optional("service") {
        Some(service) => stated(service, case.optional("endpoints")),
        None => named(test)?,
    } {
        objects.put_json(&object).map_err(|error| Fault::Malformed(error.to_string()))?;
    }
    let mut config = ProxyConfig::new(Family::V4, NODE);
    config.node_ip = NODE_IP.parse().ok();
    config.local_addresses =
        ["127.0.0.1", NODE_IP].into_iter().filter_map(|addr| addr.parse().ok()).collect();
    let rules = ruleset_of_objects(&objects, &config, ProxyMode::Ipvs);
    let mut differences = Vec::new();
    let expect = case.field("expect")?.as_object();
    for (what, expected) in expect.into_iter().flatten() {
        for (at, expected, got) in answers(&rules, case, what, expected)? {
            if expected != got {
                differences.push(Difference::new(at, expected, got));
            }
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(Fault::Differs(differences)) }
}

/// What is asked about, what the case says, and what the rules say.
type Answer = (String, Value, Value);

fn answers(rules: &Ruleset, case: &Case<'_>, what: &str, expected: &Value) -> Result<Vec<Answer>, Fault> {
    let of_object = |answer: &dyn Fn(&str, &Value) -> Answer| -> Vec<Answer> {
        expected.as_object().into_iter().flatten().map(|(name, value)| answer(name, value)).collect()
    };
    Ok(match what {
        "virtualServers" => {
            let servers = expected.as_array().into_iter().flatten();
            let one = |server: &Value| {
                let at = server["vs"].as_str().unwrap_or_default();
                (at.to_string(), server["realServers"].clone(), json!(real_servers(rules, at)))
            };
            servers.map(one).collect()
        }
        "sets" => of_object(&|name, value| (name.to_string(), value.clone(), set(rules, name, value))),
        "chains" => of_object(&|name, value| (name.to_string(), value.clone(), chain(rules, name))),
        "clusterIP" | "loadBalancer" => {
            let service = case.optional("service");
            let stated = |key: &str, other: &str| {
                let addr = service.and_then(|service| service[key].as_str()).unwrap_or(other);
                format!("{addr}:{}", service.and_then(|service| service["port"].as_u64()).unwrap_or(80))
            };
            let at = if what == "clusterIP" {
                stated("clusterIP", CLUSTER_IP)
            } else {
                stated("ingress", BALANCER)
            };
            let last = |server: &String| {
                let addr = server.rsplit_once(':').map_or("", |(addr, _)| addr);
                addr.rsplit('.').next().and_then(|number| number.parse::<u64>().ok())
            };
            let numbers: Vec<u64> = real_servers(rules, &at).iter().filter_map(last).collect();
            Vec::from([(at, expected["endpoints"].clone(), json!(numbers))])
        }
        name if name.starts_with("KUBE-") => {
            Vec::from([(name.to_string(), expected.clone(), set(rules, name, expected))])
        }
        other => return Err(Fault::Unsupported(format!("nothing says what {other:?} expects"))),
    })
}

/// The real servers of a virtual server of TCP, sorted by text.
fn real_servers(rules: &Ruleset, at: &str) -> Vec<String> {
    let is_at = |id: &VirtualId| match id {
        VirtualId::Addr { addr, port, .. } => format!("{addr}:{port}") == at,
        VirtualId::Fwmark { .. } => false,
    };
    let server = rules.ipvs.iter().find(|server| is_at(&server.id));
    let servers = server.into_iter().flat_map(|server| &server.servers);
    let mut servers: Vec<String> = servers.map(|real| format!("{}:{}", real.addr, real.port)).collect();
    servers.sort();
    servers
}

/// The entries of a set in the form of the expectation: their number, or the ports that they are.
fn set(rules: &Ruleset, name: &str, expected: &Value) -> Value {
    let Some(set) = rules.ipset(name) else { return Value::Null };
    if expected.is_array() {
        let ports = set.entries.iter().filter_map(|entry| match entry.parts[..] {
            [IpSetPart::PortAlone(port)] => Some(port),
            _ => None,
        });
        return json!(ports.collect::<Vec<_>>());
    }
    match set.entries.len() {
        1 => json!("1 entry"),
        count => json!(format!("{count} entries")),
    }
}

/// The rules of a chain, each as what it does and the set that it asks.
fn chain(rules: &Ruleset, name: &str) -> Value {
    let (table, name) = name.split_once('/').unwrap_or(("nat", name));
    let chain = rules.xt_table(Family::V4, table).and_then(|table| table.chain(name));
    json!(chain.map(|chain| chain.rules.iter().map(words).collect::<Vec<_>>()))
}

#[allow(clippy::wildcard_enum_match_arm, reason = "what a case does not speak of shows as it is")]
fn words(rule: &Rule) -> String {
    let set = rule.matches.iter().find_map(|condition| match condition {
        Match::Set { set, .. } => Some(&*set.value.name),
        _ => None,
    });
    match (&rule.target, set) {
        (Some(Target::Return), Some(set)) => format!("RETURN {set}"),
        (Some(Target::Drop), None) => "DROP".into(),
        (Some(Target::Jump(chain)), Some(set)) if &**chain == "KUBE-MARK-MASQ" => format!("MARK {set}"),
        (Some(Target::Jump(chain)), Some(set)) => format!("to {chain} for {set}"),
        other => format!("{other:?}"),
    }
}

/// The objects that a case states.
fn stated(service: &Value, endpoints: Option<&Value>) -> Vec<Value> {
    let node_port = &service["nodePort"];
    let default_kind = if node_port.is_null() { "ClusterIP" } else { "NodePort" };
    let kind = service["type"].as_str().unwrap_or(default_kind);
    let mut object = service_object(kind, service["clusterIP"].as_str().unwrap_or(CLUSTER_IP));
    object["spec"]["ports"] = json!([{
        "name": "p", "port": service["port"], "protocol": service["protocol"].as_str().unwrap_or("TCP"),
    }]);
    if !node_port.is_null() {
        object["spec"]["ports"][0]["nodePort"] = node_port.clone();
    }
    for key in ["externalTrafficPolicy", "internalTrafficPolicy", "sessionAffinity"] {
        if let Some(value) = service.get(key) {
            object["spec"][key] = value.clone();
        }
    }
    for key in ["loadBalancerSourceRanges", "externalIPs"] {
        if let Some(value) = service.get(key) {
            object["spec"][key] = value.clone();
        }
    }
    if let Some(addr) = service["ingress"].as_str() {
        object["status"] = json!({"loadBalancer": {"ingress": [{"ip": addr}]}});
    }
    let endpoints = endpoints.and_then(Value::as_array).into_iter().flatten();
    let mut objects = vec![object];
    for (number, stated) in endpoints.enumerate() {
        let endpoint = json!({
            "addresses": [stated["ip"]],
            "nodeName": if stated["local"] == true { NODE } else { "elsewhere" },
        });
        objects.push(slice(number, &stated["port"], &[endpoint]));
    }
    objects
}

/// The objects of a test of kube-proxy that a case only names: a load balancer with policy `Local`, and endpoints
/// `10.0.1.1` and on, each ready or not, serving or not, shutting down or not, on the own node or not.
fn named(test: &str) -> Result<Vec<Value>, Fault> {
    let endpoints: &[(bool, bool, bool, bool)] = match test {
        "Test_EndpointSliceReadyAndTerminatingLocal" => &[
            (true, true, false, true),
            (true, true, false, true),
            (false, true, true, true),
            (false, false, true, true),
            (true, true, false, false),
        ],
        "Test_EndpointSliceOnlyReadyAndTerminatingLocal" => &[
            (false, true, true, true),
            (false, true, true, true),
            (false, false, true, true),
            (false, false, true, false),
            (true, true, false, false),
        ],
        other => return Err(Fault::Unsupported(format!("the objects of {other} are not written down"))),
    };
    let mut service = service_object("LoadBalancer", CLUSTER_IP);
    service["spec"]["externalTrafficPolicy"] = json!("Local");
    service["spec"]["ports"] = json!([{"name": "p", "port": 80}]);
    service["status"] = json!({"loadBalancer": {"ingress": [{"ip": BALANCER}]}});
    let endpoints: Vec<Value> = endpoints
        .iter()
        .zip(1..)
        .map(|((ready, serving, terminating, local), number)| {
            json!({
                "addresses": [format!("10.0.1.{number}")],
                "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
                "nodeName": if *local { NODE } else { "elsewhere" },
            })
        })
        .collect();
    Ok(vec![service, slice(0, &json!(80), &endpoints)])
}

fn service_object(kind: &str, cluster_ip: &str) -> Value {
    json!({
        "kind": "Service", "metadata": {"namespace": "ns", "name": "svc"},
        "spec": {"type": kind, "clusterIP": cluster_ip},
    })
}

fn slice(number: usize, port: &Value, endpoints: &[Value]) -> Value {
    json!({
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": "ns", "name": format!("svc-{number}"),
            "labels": {"kubernetes.io/service-name": "svc"},
        },
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "p", "port": port}],
    })
}
