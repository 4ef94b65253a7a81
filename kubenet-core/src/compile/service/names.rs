//! Names of chains and sets, which kube-proxy makes of hashes.
//!
//! iptables: 16 letters of base32 (RFC 4648) of SHA-256, after `KUBE-SVC-` and the like (`pkg/proxy/iptables/proxier.go`).
//! nftables: eight letters, then the words that were hashed (`pkg/proxy/nftables/proxier.go`).

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Endpoint, ServicePort};

/// The longest name after its prefix in nftables.
const MAX_BASE: usize = 240;

/// The hash in the names of a service port's chains in iptables mode, after `KUBE-SVC-`, `KUBE-SVL-`, `KUBE-FW-` and `KUBE-EXT-`.
///
/// ```
/// use kubenet_core::compile::service::names::hash16;
///
/// assert_eq!(hash16("ns1/svc1:p80tcp"), "XPGD46QRK7WJZT7O");
/// ```
pub fn hash16(words: &str) -> String {
    base32(words.as_bytes(), 16)
}

/// The hash of a service port in iptables mode.
pub fn service_hash(port: &ServicePort) -> String {
    hash16(&format!("{port}{}", port.protocol))
}

/// The chain of an endpoint in iptables mode, which is also the name of its `recent` list.
pub fn endpoint_chain(port: &ServicePort, endpoint: &Endpoint) -> Arc<str> {
    format!("KUBE-SEP-{}", hash16(&format!("{port}{}{endpoint}", port.protocol))).into()
}

/// The name of a service port's chains in nftables mode, after `service-`, `local-`, `external-` and `firewall-`.
pub fn nft_service(port: &ServicePort) -> String {
    hashed(nft_words(port))
}

/// The name of an endpoint's chain and set in nftables mode, after `endpoint-` and `affinity-`.
pub fn nft_endpoint(port: &ServicePort, endpoint: &Endpoint) -> String {
    let addr = format!("{}", endpoint.addr).replace(':', ".");
    hashed(format!("{}__{addr}/{}", nft_words(port), endpoint.port))
}

fn nft_words(port: &ServicePort) -> String {
    format!("{}/{}/{}/{}", port.namespace, port.name, port.protocol, port.port_name)
}

fn hashed(words: String) -> String {
    let mut name = format!("{}-{words}", base32(words.as_bytes(), 8));
    if name.len() > MAX_BASE {
        while name.len() > MAX_BASE - 3 {
            name.pop();
        }
        name.push_str("...");
    }
    name
}

/// The first letters of the base32 form of the SHA-256 of some bytes.
fn base32(bytes: &[u8], letters: usize) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut bits, mut count) = (0_u32, 0);
    let mut text = String::with_capacity(letters);
    for byte in Sha256::digest(bytes) {
        (bits, count) = (bits << 8 | u32::from(byte), count + 8);
        while count >= 5 && text.len() < letters {
            count -= 5;
            let at = (bits >> count) as usize & 31;
            text.push(char::from(ALPHABET.get(at).copied().unwrap_or(b'A')));
        }
        bits &= (1 << count) - 1;
        if text.len() >= letters {
            break;
        }
    }
    text
}
