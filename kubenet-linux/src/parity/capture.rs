//! Every frame on every device of a namespace, in the order in which they passed.
//!
//! In: a namespace. Out: [`Captured`] frames. The kernel copies each frame into a ring at the moment it passes (`PACKET_RX_RING`,
//! `packet_mmap.rst`, `TPACKET_V2`); a plain packet socket shares the buffer with stages further on, and may show what they wrote into
//! it. Checksums of layer 4 are not filled in on virtual devices; who compares recomputes them.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::netns::Netns;

/// Room for a frame in the ring, with what the kernel writes before it.
const SLOT_BYTES: u32 = 2048;
const BLOCK_BYTES: u32 = 1 << 16;
const BLOCKS: u32 = 16;
const SLOTS: u32 = BLOCKS * (BLOCK_BYTES / SLOT_BYTES);

/// A frame that passed a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The number of the device in its namespace.
    pub ifindex: u32,
    /// The device sent it; else it received it.
    pub sent: bool,
    /// When, in nanoseconds of the wall clock.
    pub at_nanos: u64,
    /// Its bytes, as far as the slot had room.
    pub bytes: Vec<u8>,
}

/// A capture on all devices of a namespace.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    ring: NonNull<u8>,
    next: u32,
}

// The ring is only read through `&mut self`.
#[expect(unsafe_code, reason = "a mapped ring is a raw pointer")]
// SAFETY: the mapping belongs to the process and to this value alone; nothing of it is bound to a thread.
unsafe impl Send for Capture {}

impl Capture {
    /// Begins.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_RAW` in the namespace.
    pub fn begin(netns: &Netns) -> io::Result<Self> {
        let socket = netns.run(packet_socket)?;
        let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        set(&socket, libc::PACKET_VERSION, &version)?;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK_BYTES,
            tp_block_nr: BLOCKS,
            tp_frame_size: SLOT_BYTES,
            tp_frame_nr: SLOTS,
        };
        set(&socket, libc::PACKET_RX_RING, &request)?;
        let ring = map(&socket)?;
        Ok(Self { socket, ring, next: 0 })
    }

    /// Takes what passed since the last time.
    ///
    /// # Errors
    ///
    /// Where more passed than the ring holds: what is missing is not known then.
    pub fn take(&mut self) -> io::Result<Vec<Captured>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.slot() {
            frames.push(frame);
            self.next = (self.next + 1) % SLOTS;
        }
        match self.lost()? {
            0 => Ok(frames),
            lost => Err(io::Error::other(format!("{lost} frames did not fit into the capture"))),
        }
    }

    /// The next slot, if the kernel has filled it; it is given back.
    #[expect(unsafe_code, reason = "reads the ring that the kernel writes")]
    fn slot(&mut self) -> Option<Captured> {
        let at = self.next as usize * SLOT_BYTES as usize;
        // SAFETY: `at` is within the mapping, and slots are aligned to their size.
        let slot = unsafe { self.ring.as_ptr().add(at) };
        let header = slot.cast::<libc::tpacket2_hdr>();
        // SAFETY: the status word is the first of the header, aligned, and written by the kernel: it is read atomically.
        let status = unsafe { AtomicU32::from_ptr(ptr::addr_of_mut!((*header).tp_status)) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the slot is ours until its status is given back; the kernel has written a whole header.
        let said = unsafe { header.read() };
        let from = usize::from(said.tp_mac).min(SLOT_BYTES as usize);
        let len = (said.tp_snaplen as usize).min(SLOT_BYTES as usize - from);
        // SAFETY: `from + len` is within the slot.
        let bytes = unsafe { std::slice::from_raw_parts(slot.add(from), len) }.to_vec();
        let link = align(size_of::<libc::tpacket2_hdr>());
        // SAFETY: the kernel writes a `sockaddr_ll` behind the aligned header, within the slot.
        let link = unsafe { slot.add(link).cast::<libc::sockaddr_ll>().read_unaligned() };
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        Some(Captured {
            ifindex: u32::try_from(link.sll_ifindex).unwrap_or(0),
            sent: link.sll_pkttype == libc::PACKET_OUTGOING,
            at_nanos: u64::from(said.tp_sec) * 1_000_000_000 + u64::from(said.tp_nsec),
            bytes,
        })
    }

    /// How many frames found no free slot since the last time.
    #[expect(unsafe_code, reason = "getsockopt has no safe form for packet statistics")]
    fn lost(&self) -> io::Result<u32> {
        let mut said = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        let (place, room) = (ptr::addr_of_mut!(said).cast::<c_void>(), ptr::addr_of_mut!(len));
        // SAFETY: `place` points at `len` writable bytes.
        let done = unsafe {
            libc::getsockopt(self.socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, place, room)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(said.tp_drops) }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "unmaps the ring")]
        // SAFETY: the mapping was made with this length, and nothing reads it any more.
        unsafe {
            libc::munmap(self.ring.as_ptr().cast(), ring_bytes());
        }
    }
}

const fn ring_bytes() -> usize {
    (BLOCK_BYTES * BLOCKS) as usize
}

/// `TPACKET_ALIGN`.
const fn align(bytes: usize) -> usize {
    bytes.next_multiple_of(16)
}

#[expect(unsafe_code, reason = "packet sockets have no safe form")]
fn packet_socket() -> io::Result<OwnedFd> {
    let all = i32::from((libc::ETH_P_ALL as u16).to_be());
    // SAFETY: makes a file descriptor, touches no memory.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, all) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[expect(unsafe_code, reason = "setsockopt has no safe form for packet sockets")]
fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` points at `len` readable bytes.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            ptr::from_ref(value).cast::<c_void>(),
            len,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[expect(unsafe_code, reason = "maps the ring")]
fn map(socket: &OwnedFd) -> io::Result<NonNull<u8>> {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: asks for a new mapping where the kernel likes it.
    let ring = unsafe { libc::mmap(ptr::null_mut(), ring_bytes(), access, kind, socket.as_raw_fd(), 0) };
    if ring == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(ring.cast()).ok_or_else(|| io::Error::other("the ring was mapped at address 0"))
}
