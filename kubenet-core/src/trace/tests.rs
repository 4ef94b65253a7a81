#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the capture reader has more kinds of blocks than are asked about"
)]

mod relay;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::{Block, PcapNgReader};

use super::{Trace, mermaid, pcapng};
use crate::dataplane::EventKind;
use crate::network::{Network, Question};
use crate::packet::view;

const PODS: &str = "
apiVersion: kubenet/v1
kind: Assumptions
spec: { underlay: vxlan, place: { default/client: node-1, default/server: node-2 } }
---
apiVersion: v1
kind: Pod
metadata: { name: client }
---
apiVersion: v1
kind: Pod
metadata: { name: server }
spec: { containers: [{ name: main, ports: [{ containerPort: 8080 }] }] }
";

fn trace(text: &str, from: &str, to: &str) -> Trace {
    Network::from_text("pods.yaml", text).trace(&Question::new(from, to)).expect("an answer")
}

#[test]
fn a_capture_file_has_an_interface_per_device_and_a_comment_per_frame() {
    let trace = trace(PODS, "pod/client", "pod/server:8080");
    let case = &trace.outcomes[0];
    let bytes = pcapng(case);
    let mut reader = PcapNgReader::new(&bytes[..]).expect("a capture file");
    let (mut interfaces, mut frames) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block.expect("a good block") {
            Block::InterfaceDescription(interface) => {
                interfaces.extend(interface.options.iter().filter_map(|option| match option {
                    InterfaceDescriptionOption::IfName(name) => Some(String::from(&**name)),
                    _ => None,
                }))
            }
            Block::EnhancedPacket(packet) => {
                let comment = packet.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Comment(text) => Some(String::from(&**text)),
                    _ => None,
                });
                frames.push((packet.interface_id, packet.data.to_vec(), comment.expect("a comment")));
            }
            _ => {}
        }
    }
    let on_devices: Vec<_> = case
        .flows
        .iter()
        .flat_map(|flow| &flow.events)
        .filter(|hop| matches!(hop.event, EventKind::Received | EventKind::Transmitted))
        .collect();
    let devices: BTreeSet<String> = on_devices
        .iter()
        .map(|hop| {
            let place = hop.place();
            format!("{place} {}", hop.device.as_deref().unwrap_or(""))
        })
        .collect();
    assert_eq!(interfaces.iter().cloned().collect::<BTreeSet<_>>(), devices);
    assert_eq!(interfaces.len(), devices.len());
    assert_eq!(frames.len(), on_devices.len());
    for (id, data, comment) in &frames {
        assert!(view(data).is_ok(), "{comment}");
        assert!(comment.contains(&interfaces[*id as usize]), "{comment}");
    }
}

#[test]
fn every_event_comes_after_the_one_that_it_follows_from() {
    let trace = trace(PODS, "pod/client", "pod/server:8080");
    for hop in trace.outcomes[0].flows.iter().flat_map(|flow| &flow.events) {
        assert!(hop.before.is_none_or(|before| before < hop.id), "{hop:?}");
    }
    for flow in &trace.outcomes[0].flows {
        let first = flow.events.first().expect("a flow has events");
        assert!(flow.cause.is_none_or(|cause| cause < first.id), "{flow:?}");
    }
}

#[test]
fn the_checksums_of_every_frame_are_right() {
    let trace = trace(PODS, "pod/client", "pod/server:8080");
    for hop in trace.outcomes[0].flows.iter().flat_map(|flow| &flow.events) {
        if let Ok(crate::packet::View::Ip(ip)) = view(&hop.bytes) {
            assert!(crate::packet::l4_checksum_is_right(&hop.bytes, &ip), "{hop:?}");
        }
    }
}

#[test]
fn names_never_become_markup_of_a_diagram() {
    let text = PODS.replace("name: server", "name: \"server#;<b>%%{init}\"");
    let network = Network::from_text("pods.yaml", &text);
    let pod = network.cluster().pods.iter().find(|pod| pod.name.starts_with("server")).expect("the server");
    let trace =
        network.trace(&Question::new("pod/client", format!("{}:8080", pod.addresses[0]))).expect("an answer");
    let diagram = mermaid(&trace, &trace.outcomes[0]);
    assert!(diagram.contains("server#35;#59;#60;b#62;#37;#37;#123;init#125;"), "{diagram}");
    assert!(!diagram.contains("<b>") && !diagram.contains("%%{"), "{diagram}");
}

#[test]
fn a_diagram_tells_what_happens_where_it_does() {
    let trace = trace(PODS, "pod/client", "pod/server:8080");
    let diagram = mermaid(&trace, &trace.outcomes[0]);
    let place = |text: &str| diagram.find(text).unwrap_or_else(|| panic!("no {text} in {diagram}"));
    let node = diagram.lines().find(|line| line.ends_with("as node-1")).expect("the node");
    let id = node.trim().split(' ').nth(1).expect("its number");
    assert!(place("participant") < place("->>"), "{diagram}");
    assert!(place("->>") < place(&format!("Note over {id}: forwards")), "{diagram}");
}
