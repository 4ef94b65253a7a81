//! A trace as a capture file: pcapng with one interface per device and a comment per frame.
//!
//! Format: draft-ietf-opsawg-pcapng §4 (Section Header, Interface Description and Enhanced Packet Blocks, little endian). Frames
//! are those that a device received or sent, in the order in which it happened; times are virtual, in nanoseconds from the
//! first packet.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Case, FlowRecord, Hop};
use crate::dataplane::EventKind;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const LINKTYPE_ETHERNET: u16 = 1;
const OPT_COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;

/// All frames of a case, every flow included.
pub fn pcapng(case: &Case) -> Vec<u8> {
    let mut frames: Vec<(&FlowRecord, &Hop)> = Vec::new();
    for flow in &case.flows {
        let on_a_device = |hop: &&Hop| {
            matches!(hop.event, EventKind::Received | EventKind::Transmitted) && hop.device.is_some()
        };
        frames.extend(flow.events.iter().filter(on_a_device).map(|hop| (flow, hop)));
    }
    frames.sort_by_key(|(_, hop)| hop.id);
    let mut out = Vec::new();
    block(&mut out, SECTION_HEADER, |body| {
        body.extend(0x1a2b_3c4d_u32.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        body.extend(u64::MAX.to_le_bytes());
    });
    let mut interfaces: BTreeMap<String, u32> = BTreeMap::new();
    for (_, hop) in &frames {
        let name = interface(hop);
        let next = interfaces.len() as u32;
        if interfaces.contains_key(&name) {
            continue;
        }
        block(&mut out, INTERFACE_DESCRIPTION, |body| {
            body.extend(LINKTYPE_ETHERNET.to_le_bytes());
            body.extend(0_u16.to_le_bytes());
            body.extend(0_u32.to_le_bytes());
            option(body, IF_NAME, name.as_bytes());
            option(body, IF_TSRESOL, &[9]);
            end_of_options(body);
        });
        interfaces.insert(name, next);
    }
    for (flow, hop) in frames {
        let id = interfaces.get(&interface(hop)).copied().unwrap_or(0);
        let received = hop.event == EventKind::Received;
        block(&mut out, ENHANCED_PACKET, |body| {
            let at = hop.at.as_nanos();
            let len = hop.bytes.len() as u32;
            body.extend(id.to_le_bytes());
            body.extend(((at >> 32) as u32).to_le_bytes());
            body.extend((at as u32).to_le_bytes());
            body.extend(len.to_le_bytes());
            body.extend(len.to_le_bytes());
            body.extend_from_slice(&hop.bytes);
            pad(body);
            let way = if received { "received by" } else { "sent by" };
            let comment = format!("{way} {}: {} (flow {})", interface(hop), flow_word(flow), flow.id.0);
            option(body, OPT_COMMENT, comment.as_bytes());
            option(body, EPB_FLAGS, &(if received { 1_u32 } else { 2 }).to_le_bytes());
            end_of_options(body);
        });
    }
    out
}

/// `node-1 eth0`, `shop/cart-0 eth0`.
fn interface(hop: &Hop) -> String {
    let place = hop.place();
    format!("{place} {}", hop.device.as_deref().unwrap_or(""))
}

fn flow_word(flow: &FlowRecord) -> &'static str {
    use crate::dataplane::FlowKind;
    match flow.kind {
        FlowKind::Request => "request",
        FlowKind::Retransmission => "retransmission",
        FlowKind::Reply => "reply",
        FlowKind::Data => "data",
        FlowKind::Neighbour => "neighbour resolution",
        FlowKind::IcmpError => "ICMP error",
        FlowKind::Tunnel => "tunnel",
        FlowKind::Injected => "injected",
        FlowKind::Relayed => "relayed",
    }
}

/// Type, length, body, length again.
fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut body = Vec::new();
    fill(&mut body);
    let len = body.len() as u32 + 12;
    out.extend(kind.to_le_bytes());
    out.extend(len.to_le_bytes());
    out.append(&mut body);
    out.extend(len.to_le_bytes());
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn end_of_options(body: &mut Vec<u8>) {
    body.extend([0; 4]);
}

fn pad(body: &mut Vec<u8>) {
    while !body.len().is_multiple_of(4) {
        body.push(0);
    }
}
