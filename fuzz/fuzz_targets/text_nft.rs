//! The cargo-fuzz binary of the target `text_nft`; what it does stands in `../targets.rs`.

#![no_main]

#[path = "../targets.rs"]
#[allow(dead_code, reason = "each binary runs one target")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::text_nft(data));
