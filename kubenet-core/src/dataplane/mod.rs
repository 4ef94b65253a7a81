//! The dataplane: what Linux does to a packet, as a machine that is fed frames and drained of them.
//!
//! In: a plan (`crate::plan`), Ethernet frames, the time, and answers where the kernel would be free
//! ([`Choices`]). Out: frames, deadlines, what sockets live through, and, for a [`Recorder`] that wants it, every
//! step with its reason. It knows links, routes and sockets, and nothing of Kubernetes.
//!
//! [`Machine`] is one host with its namespaces. [`World`] carries frames between the machines of a
//! [`PlanSource`](crate::plan::PlanSource), which it asks only for those that a frame meets.
//!
//! What Linux does is quoted at each stage (kernel file, RFC). Not modelled: congestion control and windows (a
//! segment stands for a stream), neighbour unreachability probes, IGMP/MLD, source fragmentation of IPv6, STP.

mod bridge;
mod choices;
pub mod conntrack;
mod event;
mod fib;
mod frame;
mod guards;
mod hooks;
mod icmp;
mod input;
mod ipvs;
mod machine;
mod nat;
mod neigh;
pub mod netfilter;
mod netns;
mod output;
mod reason;
mod redirect;
mod socket;
mod vxlan;
mod world;

pub use self::choices::{Choices, Explored, Pinned, Probability, Script, Seeded, Taken, explore};
pub use self::event::{Event, EventId, EventKind, Flow, FlowId, FlowKind, Log, Place, Recorder, Stage};
pub use self::frame::Skb;
pub use self::guards::PacketView;
pub use self::ipvs::IpvsConnection;
pub use self::machine::{Machine, Transmit};
pub use self::reason::DropReason;
pub use self::socket::{Client, ClientId, Failure, Notice, NoticeKind, RELAYS_IN_A_ROW};
pub use self::world::{Limits, Parked, Stopped, World};
