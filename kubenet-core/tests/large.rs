//! Input as large as clusters make it: a hundred megabytes, most of which nothing reads.

use kubenet_core::k8s::load::{LoadOptions, Source, load};

#[test]
fn a_dump_of_a_hundred_megabytes_loads_whole() {
    // What `kubectl apply` and operators leave behind in annotations and status.
    let noise = "x".repeat(20_000);
    let mut text = String::from("{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n");
    for number in 0..5_000 {
        let comma = if number > 0 { ",\n" } else { "" };
        text += &format!(
            "{comma}{{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {{\"name\": \"pod-{number}\", \"uid\": \"{number}\", \
             \"annotations\": {{\"example.org/state\": \"{noise}\"}}}}, \"spec\": {{\"nodeName\": \"node-1\"}}, \
             \"status\": {{\"phase\": \"Running\", \"message\": \"{noise}\"}}}}"
        );
        if text.len() > 100_000_000 {
            break;
        }
    }
    text += "\n]}\n";
    assert!(text.len() > 100_000_000);
    let loaded = load(&[Source { name: "dump.json", bytes: text.as_bytes() }], &LoadOptions::default());
    assert_eq!(loaded.diagnostics, []);
    assert_eq!(loaded.objects.pods.len(), text.matches("\"kind\": \"Pod\"").count());
}
