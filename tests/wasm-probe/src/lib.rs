//! A module for `wasm32-unknown-unknown` that does with kubenet-core what a page would, and imports nothing.
//!
//! In: manifests as text. Out: what is wrong with them, the pods with their addresses, a node's routes, and the trace of a
//! connection from the first pod to the second, in words and as JSON. The same function runs natively, so `examples/check.rs`
//! can compare.

use std::sync::{Mutex, PoisonError};

use kubenet_core::network::{Network, Question, Table};
use kubenet_core::scenario::describe;
use kubenet_core::trace::Detail;

/// Loads the manifests, and asks for a packet between the first two pods.
pub fn answer(input: &str) -> String {
    let network = Network::from_text("input.yaml", input);
    let mut lines: Vec<String> = network.diagnostics().map(ToString::to_string).collect();
    let pods = &network.cluster().pods;
    lines.extend(pods.iter().map(|pod| format!("{}/{} {:?}", pod.namespace, pod.name, pod.addresses)));
    lines.extend(network.render("node-1", "default", Table::IpRoute, false));
    if let [from, to, ..] = &pods[..] {
        let end = |namespace: &str, name: &str| format!("{namespace}/pod/{name}");
        let to = format!("{}:80", end(&to.namespace, &to.name));
        match network.trace(&Question::new(end(&from.namespace, &from.name), to)) {
            Ok(trace) => {
                lines.push(describe(&trace, Detail::Full));
                lines.extend(serde_json::to_string(&trace));
            }
            Err(error) => lines.push(error.to_string()),
        }
    }
    lines.join("\n")
}

/// The text that goes in, then the text that comes out. Byte by byte, so that no pointer crosses the border.
static TEXT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Appends a byte to the text.
#[unsafe(no_mangle)]
pub extern "C" fn put(byte: u32) {
    TEXT.lock().unwrap_or_else(PoisonError::into_inner).push(byte as u8);
}

/// Replaces the text by its answer, and gives its length in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn run() -> u32 {
    let mut text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
    *text = answer(&String::from_utf8_lossy(&text)).into_bytes();
    text.len() as u32
}

/// A byte of the text.
#[unsafe(no_mangle)]
pub extern "C" fn get(place: u32) -> u32 {
    let text = TEXT.lock().unwrap_or_else(PoisonError::into_inner);
    text.get(place as usize).copied().unwrap_or_default().into()
}
