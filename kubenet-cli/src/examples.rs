//! The examples that are built in: the files of the repository's `examples/`.

use anyhow::bail;

use crate::input::Text;
use crate::output::{Out, paint, style};

/// Name, what it shows, text.
const EXAMPLES: [(&str, &str, &str); 3] = [
    ("shop", "a web shop of twelve services, as manifests", include_str!("../../examples/shop.yaml")),
    ("pods", "two pods and nothing else", include_str!("../../examples/pods.yaml")),
    (
        "dual-stack",
        "a dual-stack cluster whose nodes and assumptions are in the file",
        include_str!("../../examples/dual-stack.yaml"),
    ),
];

/// The text of an example.
pub(crate) fn named(name: &str) -> anyhow::Result<Text> {
    let Some((_, _, text)) = EXAMPLES.iter().find(|(known, ..)| *known == name) else {
        let names: Vec<&str> = EXAMPLES.iter().map(|(name, ..)| *name).collect();
        bail!("no example '{name}'; there are {}", names.join(", "));
    };
    Ok(Text { name: format!("example:{name}"), bytes: text.as_bytes().to_vec() })
}

/// Lists them.
pub(crate) fn list(out: &mut Out) -> anyhow::Result<u8> {
    for (name, what, _) in EXAMPLES {
        out.line(&format!("{}  {what}", paint(style::PLACE, &format!("{name:<12}"))))?;
    }
    Ok(0)
}
