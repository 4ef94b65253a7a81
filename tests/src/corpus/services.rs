//! The facts about kube-proxy: which endpoints it uses, how it names chains, what it deletes from conntrack.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use kubenet_core::addr::Protocol;
use kubenet_core::compile;
use kubenet_core::compile::service::conntrack_cleanup::{Cleanup, Entry};
use kubenet_core::compile::service::{Endpoint, Port, Selected, ServicePort, names, select};
use kubenet_core::origin::{ObjectRef, Origin};
use serde_json::Value;

use super::case::{Case, Fault, Judgement, parse, same};

/// `categorize.yaml`: which endpoints a node uses.
pub(super) fn categorize(case: &Case<'_>) -> Judgement {
    let flag = |name: &str| case.field("service").map(|service| service[name] == true);
    let mut record = record(case)?;
    record.internal_local = flag("internalLocal")?;
    record.external_local = flag("externalLocal")?;
    record.node_port = flag("externallyAccessible")?.then_some(30000);
    let node_hints = case.field("sameNodeHints")? == true;
    let endpoints = case.items("endpoints")?.iter().map(|stated| endpoint(stated, node_hints));
    let mut endpoints = endpoints.collect::<Result<Vec<_>, Fault>>()?;
    endpoints.sort_by_key(ToString::to_string);
    let node = case.field("node")?;
    let zone = node["labels"]["topology.kubernetes.io/zone"].as_str();
    let selected = select(&record, &endpoints, node["name"].as_str().unwrap_or_default(), zone);
    let names =
        |places: &[usize]| Some(places.iter().map(|at| endpoints[*at].to_string()).collect::<Vec<_>>());
    let expect = case.field("expect")?;
    let Selected { cluster, local, all, any } = selected;
    // Without any endpoint nothing is chosen, and a list is as good as none.
    let list = |list: Option<Vec<String>>| list.or_else(|| endpoints.is_empty().then(Vec::new));
    let got = |places: Option<Vec<usize>>| list(places.and_then(|places| names(&places)));
    same("cluster", &list(sorted(&expect["cluster"])), &got(cluster))?;
    same("local", &list(sorted(&expect["local"])), &got(local))?;
    same("all", &sorted(&expect["all"]).unwrap_or_default(), &names(&all).unwrap_or_default())?;
    same("hasAny", &(expect["hasAny"] == true), &any)
}

/// `l2leader.jsonl`: which node announces an address of MetalLB's.
pub(super) fn l2_leader(case: &Case<'_>) -> Judgement {
    let candidates: Vec<&str> = case.items("candidates")?.iter().filter_map(Value::as_str).collect();
    let leader = compile::l2_leader(&candidates, parse(case.field("ip")?)?);
    same("announcer", &case.field("expect")?["announcer"].as_str(), &leader)
}

fn sorted(list: &Value) -> Option<Vec<String>> {
    let mut names: Vec<String> = list.as_array()?.iter().filter_map(|v| v.as_str()).map(Into::into).collect();
    names.sort();
    Some(names)
}

fn endpoint(stated: &Value, node_hints: bool) -> Result<Endpoint, Fault> {
    let place: SocketAddr = parse(&stated["endpoint"])?;
    let list = |key: &str| -> Vec<Arc<str>> {
        stated[key].as_array().into_iter().flatten().filter_map(|v| v.as_str()).map(Into::into).collect()
    };
    Ok(Endpoint {
        addr: place.ip(),
        port: place.port(),
        ready: stated["ready"] == true,
        serving: stated["serving"] == true,
        terminating: stated["terminating"] == true,
        local: stated["local"] == true,
        for_zones: list("forZones"),
        for_nodes: if node_hints { list("forNodes") } else { Vec::new() },
        origin: Origin::implied("the corpus"),
    })
}

/// A service port of what the case states, with the rest empty.
fn record(case: &Case<'_>) -> Result<ServicePort, Fault> {
    let text = |key: &str| case.optional(key).and_then(Value::as_str).unwrap_or_default();
    let protocol = case.optional("protocol").map(parse).transpose()?.unwrap_or(Protocol::Tcp);
    Ok(ServicePort {
        namespace: text("namespace").into(),
        name: text("name").into(),
        port_name: case.optional("port").and_then(Value::as_str).unwrap_or_default().into(),
        protocol,
        cluster_ip: Ipv4Addr::UNSPECIFIED.into(),
        port: 0,
        node_port: None,
        external_ips: Vec::new(),
        vips: Vec::new(),
        source_ranges: Vec::new(),
        internal_local: false,
        external_local: false,
        affinity_secs: None,
        health_check_node_port: None,
        origin: Origin::object(ObjectRef::namespaced("Service", text("namespace"), text("name"))),
    })
}

/// `names.yaml`: the names of chains.
pub(super) fn chain_names(case: &Case<'_>) -> Judgement {
    let record = record(case)?;
    let kind = case.field("kind")?.as_str().unwrap_or_default();
    let place = |_| endpoint(&case.value, false);
    let endpoint = case.optional("endpoint").map(place).transpose()?;
    let name = match (case.list, endpoint) {
        (Some("iptables"), None) => format!("KUBE-{kind}-{}", names::service_hash(&record)),
        (Some("iptables"), Some(endpoint)) => names::endpoint_chain(&record, &endpoint).to_string(),
        (_, None) => format!("{kind}-{}", names::nft_service(&record)),
        (_, Some(endpoint)) => format!("{kind}-{}", names::nft_endpoint(&record, &endpoint)),
    };
    same("chain", &case.field("chain")?.as_str().unwrap_or_default(), &name.as_str())
}

/// `conntrack-udp.yaml`: what is deleted after a change of UDP endpoints.
pub(super) fn conntrack_cleanup(case: &Case<'_>) -> Judgement {
    let service = &case.file["service"];
    let number = |value: &Value| {
        let number = value.as_u64().and_then(|number| u16::try_from(number).ok());
        number.ok_or_else(|| Fault::Malformed(format!("{value} is no port")))
    };
    let mut record = record(case)?;
    record.protocol = Protocol::Udp;
    record.cluster_ip = parse(&service["clusterIP"])?;
    record.vips = vec![parse(&service["loadBalancerIP"])?];
    record.external_ips = vec![parse(&service["externalIP"])?];
    record.port = number(&service["port"])?;
    record.node_port = Some(number(&service["nodePort"])?);
    let endpoints = case.file["endpoints"].as_array().into_iter().flatten().map(|stated| {
        Ok(Endpoint {
            addr: parse(&stated["ip"])?,
            port: number(&stated["port"])?,
            ready: true,
            serving: stated["serving"] == true,
            terminating: false,
            local: false,
            for_zones: Vec::new(),
            for_nodes: Vec::new(),
            origin: Origin::implied("the corpus"),
        })
    });
    let endpoints = endpoints.collect::<Result<Vec<_>, Fault>>()?;
    // The Service has ports of the same number for the other transports.
    let ports = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(|protocol| Port {
        record: Arc::new(ServicePort { protocol, ..record.clone() }),
        endpoints: endpoints.clone(),
        selected: Selected::default(),
    });
    let addr = |value: &Value| -> Result<IpAddr, Fault> {
        if value == "any" { Ok(Ipv4Addr::new(192, 0, 2, 1).into()) } else { parse(value) }
    };
    let protocol: Protocol = parse(case.field("proto")?)?;
    let entry = Entry {
        protocol,
        original_destination: (addr(case.field("orig_dst")?)?, number(case.field("orig_dport")?)?),
        reply_source: (addr(case.field("reply_src")?)?, number(case.field("reply_sport")?)?),
    };
    same("kept", &(case.field("kept")? == true), &!Cleanup::new(&ports).deletes(&entry))
}
