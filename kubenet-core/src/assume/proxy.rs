//! How kube-proxy is set up, beyond its mode.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How kube-proxy tells packets of pods from others (`--detect-local-mode`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum DetectLocalMode {
    /// `ClusterCIDR`: their source is in the pod range of the cluster.
    ClusterCidr,
    /// `NodeCIDR`: their source is in the pod range of the node.
    NodeCidr,
    /// `BridgeInterface=NAME`: they come from this bridge.
    BridgeInterface(String),
    /// `InterfaceNamePrefix=PREFIX`: they come from a link whose name begins so.
    InterfaceNamePrefix(String),
    /// `none`: nothing is told from anything, as with mode `ClusterCIDR` and no range.
    None,
}

impl fmt::Display for DetectLocalMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClusterCidr => f.write_str("ClusterCIDR"),
            Self::NodeCidr => f.write_str("NodeCIDR"),
            Self::BridgeInterface(name) => write!(f, "BridgeInterface={name}"),
            Self::InterfaceNamePrefix(prefix) => write!(f, "InterfaceNamePrefix={prefix}"),
            Self::None => f.write_str("none"),
        }
    }
}

/// The words say nothing of how kube-proxy is set up.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("'{words}' is not {what}; use {expected}")]
pub struct ProxyWordsError {
    /// What was said.
    pub words: String,
    /// What it should be.
    pub what: &'static str,
    /// What would do.
    pub expected: &'static str,
}

impl FromStr for DetectLocalMode {
    type Err = ProxyWordsError;

    fn from_str(words: &str) -> Result<Self, ProxyWordsError> {
        match words.split_once('=').map_or((words, ""), |(mode, name)| (mode, name)) {
            ("ClusterCIDR", "") => Ok(Self::ClusterCidr),
            ("NodeCIDR", "") => Ok(Self::NodeCidr),
            ("BridgeInterface", name) if !name.is_empty() => Ok(Self::BridgeInterface(name.into())),
            ("InterfaceNamePrefix", name) if !name.is_empty() => Ok(Self::InterfaceNamePrefix(name.into())),
            ("none", "") => Ok(Self::None),
            _ => Err(ProxyWordsError {
                words: words.into(),
                what: "a way to detect local traffic",
                expected: "ClusterCIDR, NodeCIDR, BridgeInterface=NAME, InterfaceNamePrefix=PREFIX or none",
            }),
        }
    }
}

/// At which addresses of a node node ports answer (`--nodeport-addresses`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum NodePortAddresses {
    /// `all`: at all of them.
    All,
    /// `primary`: at the node's own address.
    Primary,
    /// At those that are in one of these ranges.
    In(Vec<IpNet>),
}

impl fmt::Display for NodePortAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Primary => f.write_str("primary"),
            Self::In(nets) => {
                let words: Vec<String> = nets.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(","))
            }
        }
    }
}

impl FromStr for NodePortAddresses {
    type Err = ProxyWordsError;

    fn from_str(words: &str) -> Result<Self, ProxyWordsError> {
        match words.trim() {
            "all" => return Ok(Self::All),
            "primary" => return Ok(Self::Primary),
            _ => {}
        }
        let nets = words.split(',').map(|word| word.trim().parse::<IpNet>().map(|net| net.trunc()));
        nets.collect::<Result<Vec<_>, _>>().map(Self::In).map_err(|_| ProxyWordsError {
            words: words.into(),
            what: "a choice of node addresses",
            expected: "all, primary, or prefixes with commas",
        })
    }
}

impl Serialize for DetectLocalMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DetectLocalMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for NodePortAddresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodePortAddresses {
    /// One text, or a list as kube-proxy's own configuration has it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            List(Vec<String>),
        }
        let words = match Either::deserialize(deserializer)? {
            Either::Text(text) => text,
            Either::List(list) => list.join(","),
        };
        words.parse().map_err(|error| serde::de::Error::custom(format!("{error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for words in ["ClusterCIDR", "NodeCIDR", "BridgeInterface=cni0", "InterfaceNamePrefix=veth", "none"] {
            assert_eq!(words.parse::<DetectLocalMode>().map(|mode| mode.to_string()).as_deref(), Ok(words));
        }
        for words in ["all", "primary", "10.0.0.0/8,fd00::/8"] {
            assert_eq!(words.parse::<NodePortAddresses>().map(|a| a.to_string()).as_deref(), Ok(words));
        }
        let list: NodePortAddresses = serde_json::from_str(r#"["10.0.0.1/8"]"#).unwrap();
        assert_eq!(list.to_string(), "10.0.0.0/8");
        assert!("BridgeInterface".parse::<DetectLocalMode>().is_err());
        assert!("10.0.0.0".parse::<NodePortAddresses>().is_err());
    }
}
