//! The allocators give what the originals' own tests say.
//!
//! Runs where the folder is: `$KUBENET_SHARED/corpus/services/facts`, or `shared/corpus/…` beside the repository.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use kubenet_core::ipam::{CidrSet, HostLocal, Range, cluster_ip_band, node_port_band};
use serde_json::Value;

#[expect(clippy::disallowed_methods, reason = "a test reads its files and its environment")]
fn facts(name: &str) -> Option<Value> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let named = std::env::var("KUBENET_SHARED").ok().map(PathBuf::from);
    let shared = named.into_iter().chain([beside]).find(|path| path.is_dir())?;
    let text = std::fs::read_to_string(shared.join("corpus/services/facts").join(name)).ok()?;
    Some(serde_saphyr::from_str(&text).expect("the facts are YAML"))
}

fn list<'a>(facts: &'a Value, key: &str) -> &'a [Value] {
    facts[key].as_array().map_or(&[], Vec::as_slice)
}

fn net(value: &Value) -> IpNet {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is not a prefix"))
}

fn ip(value: &Value) -> Option<IpAddr> {
    value.as_str().map(|text| text.parse().unwrap_or_else(|_| panic!("{value} is not an address")))
}

fn set(case: &Value) -> CidrSet {
    let mask = case["mask"].as_u64().expect("a mask") as u8;
    CidrSet::new(net(&case["cluster"]), mask).unwrap_or_else(|error| panic!("{case}: {error}"))
}

#[test]
fn blocks_and_indexes_are_those_of_the_range_allocator() {
    let Some(facts) = facts("cidrset.yaml") else { return };
    for case in list(&facts, "index_to_block") {
        let index = case["index"].as_u64().expect("an index");
        assert_eq!(set(case).block(index), Some(net(&case["block"])), "{case}");
    }
    for case in list(&facts, "block_to_index") {
        assert_eq!(set(case).index_of(net(&case["block"])).ok(), case["index"].as_u64(), "{case}");
    }
    for case in list(&facts, "sequences") {
        let mut set = set(case);
        let occupied = case["occupied_from"].as_u64();
        let take_all =
            |set: &mut CidrSet| -> Vec<IpNet> { core::iter::from_fn(|| set.allocate_next().ok()).collect() };
        let first_round = take_all(&mut set);
        for block in &first_round {
            set.release(*block).expect("it was given");
        }
        for index in occupied.unwrap_or(set.count())..set.count() {
            set.occupy(set.block(index).expect("a block")).expect("inside");
        }
        let second_round = take_all(&mut set);
        assert_eq!(second_round.len() as u64, case["count"].as_u64().expect("a count"), "{case}");
        if let Some(first) = case["first"].as_str() {
            assert_eq!(first_round.first().map(ToString::to_string).as_deref(), Some(first), "{case}");
            assert_eq!(first_round, second_round, "{case}");
        }
        let allowed = occupied.unwrap_or(set.count());
        assert!(second_round.iter().all(|block| set.index_of(*block).is_ok_and(|i| i < allowed)), "{case}");
    }
}

#[test]
fn the_next_pod_address_is_that_of_host_local() {
    let Some(facts) = facts("host-local.yaml") else { return };
    for case in list(&facts, "cases") {
        let ranges = list(case, "subnets").iter().map(|subnet| Range::new(net(subnet)).expect("a subnet"));
        let mut pods = HostLocal::new([ranges.collect::<Vec<_>>()]);
        for (place, used) in list(case, "used").iter().enumerate() {
            pods.allocate_addr(&place.to_string(), "eth0", ip(used).expect("an address"))
                .expect("it is free");
        }
        pods.set_last_reserved(0, ip(&case["last_reserved"]));
        let next = pods.allocate("next", "eth0").ok().map(|given| given[0].addr.addr());
        assert_eq!(next, ip(&case["next"]), "{case}");
    }
}

#[test]
fn the_bands_are_those_of_the_service_allocators() {
    let Some(facts) = facts("alloc.yaml") else { return };
    for case in list(&facts, "nodePort") {
        let size = case["size"].as_u64().expect("a size");
        assert_eq!(Some(node_port_band(size)), case["offset"].as_u64(), "{case}");
    }
    for case in list(&facts, "clusterIP") {
        assert_eq!(Some(cluster_ip_band(net(&case["cidr"]))), case["offset"].as_u64(), "{case}");
    }
}
