//! The facts about allocators: node ranges, pod addresses, and the bands of Service addresses and node ports.

use std::iter::from_fn;

use ipnet::IpNet;
use kubenet_core::ipam::{CidrSet, HostLocal, Range, cluster_ip_band, node_port_band};

use super::case::{Case, Fault, Judgement, parse, same};

/// `cidrset.yaml`: blocks and indexes are those of the range allocator, and so is the order of handing out.
pub(super) fn cidrset(case: &Case<'_>) -> Judgement {
    let mask = u8::try_from(case.number("mask")?).map_err(malformed)?;
    let mut set = CidrSet::new(case.net("cluster")?, mask).map_err(malformed)?;
    match case.list {
        Some("index_to_block") => same("block", &Some(case.net("block")?), &set.block(case.number("index")?)),
        Some("block_to_index") => {
            same("index", &Ok(case.number("index")?), &set.index_of(case.net("block")?))
        }
        _ => handed_out_in_order(case, &mut set),
    }
}

/// All blocks are handed out, given back, and handed out again, but for those that are taken in between.
fn handed_out_in_order(case: &Case<'_>, set: &mut CidrSet) -> Judgement {
    let first_round = take_all(set);
    for block in &first_round {
        set.release(*block).map_err(malformed)?;
    }
    let occupied_from = case.optional("occupied_from").map(|_| case.number("occupied_from")).transpose()?;
    let free = occupied_from.unwrap_or_else(|| set.count());
    for index in free..set.count() {
        let block = set.block(index).ok_or_else(|| malformed(format!("no block has index {index}")))?;
        set.occupy(block).map_err(malformed)?;
    }
    let second_round = take_all(set);
    same("count", &case.number("count")?, &(second_round.len() as u64))?;
    if case.optional("first").is_some() {
        same("first", &Some(case.net("first")?), &first_round.first().copied())?;
    }
    let lower: Vec<IpNet> = (0..free).filter_map(|index| set.block(index)).collect();
    let mut handed_out = second_round.clone();
    handed_out.sort_unstable();
    same("the blocks that were handed out", &lower, &handed_out)?;
    if occupied_from.is_none() {
        same("the second round", &first_round, &second_round)?;
    }
    Ok(())
}

fn take_all(set: &mut CidrSet) -> Vec<IpNet> {
    from_fn(|| set.allocate_next().ok()).collect()
}

/// `host-local.yaml`: the next pod address is that of the host-local plugin.
pub(super) fn host_local(case: &Case<'_>) -> Judgement {
    let ranges = case.items("subnets")?.iter().map(|subnet| Range::new(parse(subnet)?).map_err(malformed));
    let mut pods = HostLocal::new([ranges.collect::<Result<Vec<_>, Fault>>()?]);
    for (place, used) in case.items("used")?.iter().enumerate() {
        pods.allocate_addr(&place.to_string(), "eth0", parse(used)?).map_err(malformed)?;
    }
    pods.set_last_reserved(0, case.addr("last_reserved")?);
    let next = pods.allocate("next", "eth0").ok().and_then(|given| Some(given.first()?.addr.addr()));
    same("next", &case.addr("next")?, &next)
}

/// `alloc.yaml`: how much of a range is kept for addresses and ports that are asked for by name.
pub(super) fn alloc_band(case: &Case<'_>) -> Judgement {
    let band = match case.list {
        Some("nodePort") => node_port_band(case.number("size")?),
        _ => cluster_ip_band(case.net("cidr")?),
    };
    same("offset", &case.number("offset")?, &band)
}

fn malformed(error: impl ToString) -> Fault {
    Fault::Malformed(error.to_string())
}
