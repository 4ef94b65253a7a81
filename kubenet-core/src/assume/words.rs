//! The words that settings are said in.

use alloc::borrow::Cow;
use alloc::string::String;
use core::convert::Infallible;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The word is none of those that the setting knows.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("'{word}' is not {what}; use {expected}")]
pub struct WordError {
    /// What was said.
    pub word: String,
    /// What it should be, such as `an underlay`.
    pub what: &'static str,
    /// The words that would do.
    pub expected: &'static str,
}

/// Gives an enum of plain words its `as_str`, `Display`, `FromStr` and serde form.
macro_rules! words {
    ($name:ident, $what:literal, $expected:literal, $($variant:ident = $word:literal),+) => {
        impl $name {
            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = WordError;

            fn from_str(word: &str) -> Result<Self, WordError> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(WordError { word: word.into(), what: $what, expected: $expected }),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Who gives pods their interfaces.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cni {
    /// The reference `bridge` plugin: a `cni0` bridge per node, host-local addresses.
    Bridge,
    /// kindnet: point-to-point veths with a host route per pod, host routes between nodes.
    Kindnet,
    /// flannel: the bridge plugin, with VXLAN or host routes between nodes.
    Flannel,
    /// A CNI that is not modelled: an opaque fabric between pods.
    Other(String),
}

impl Cni {
    /// Its name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Bridge => "bridge",
            Self::Kindnet => "kindnet",
            Self::Flannel => "flannel",
            Self::Other(name) => name,
        }
    }

    /// Whether pods get their addresses from their node's `podCIDR`, so that one outside of it is a contradiction.
    pub const fn uses_pod_cidr(&self) -> bool {
        match self {
            Self::Bridge | Self::Kindnet | Self::Flannel => true,
            Self::Other(_) => false,
        }
    }
}

impl From<&str> for Cni {
    fn from(name: &str) -> Self {
        match name {
            "bridge" => Self::Bridge,
            "kindnet" => Self::Kindnet,
            "flannel" => Self::Flannel,
            other => Self::Other(other.into()),
        }
    }
}

impl FromStr for Cni {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::from(name))
    }
}

impl fmt::Display for Cni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Cni {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Cni {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from(&*Cow::<'de, str>::deserialize(deserializer)?))
    }
}

/// How packets for pods get from node to node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Underlay {
    /// Every node has a route to every other node's pod range (`host-gw`).
    HostGw,
    /// A VXLAN overlay between the nodes.
    Vxlan,
    /// Nodes know only their gateway; the gateway has a route per node.
    Routed,
}

words!(
    Underlay,
    "an underlay",
    "host-gw, vxlan or routed",
    HostGw = "host-gw",
    Vxlan = "vxlan",
    Routed = "routed"
);

/// How kube-proxy works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyMode {
    /// iptables rules, the default.
    Iptables,
    /// nftables rules.
    Nftables,
    /// Virtual servers in the kernel.
    Ipvs,
    /// The historic relay in user space.
    Userspace,
}

words!(
    ProxyMode,
    "a proxy mode",
    "iptables, nftables, ipvs or userspace",
    Iptables = "iptables",
    Nftables = "nftables",
    Ipvs = "ipvs",
    Userspace = "userspace"
);

/// What befell a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PodState {
    /// It is not there any more, and its address is nobody's.
    Gone,
    /// It runs, but is not ready.
    Unready,
    /// It is being deleted, and still runs.
    Terminating,
}

words!(
    PodState,
    "a state of a pod",
    "gone, unready or terminating",
    Gone = "gone",
    Unready = "unready",
    Terminating = "terminating"
);

/// The C library whose resolver pods use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolver {
    /// GNU libc: `search` in order, `ndots`, A and AAAA from one socket.
    Glibc,
    /// musl (Alpine): asks all servers at once.
    Musl,
}

words!(Resolver, "a resolver", "glibc or musl", Glibc = "glibc", Musl = "musl");
