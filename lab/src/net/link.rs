//! A link to a network namespace of its own, with delay, loss and cuts in each direction.
//!
//! Two TUN devices, one here and one there; packets into one leave the other, later or never. The
//! stacks on both ends are the kernel's.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use parking_lot::{Mutex, MutexGuard};

use super::tun::Tun;

/// The delay and loss of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weather {
    /// The delay of each packet.
    pub delay: Duration,
    /// The share that is lost, from 0 to 1.
    pub loss: f64,
}

impl Weather {
    pub const CUT: Self = Self { delay: Duration::ZERO, loss: 1.0 };
}

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From this host into the namespace.
    In,
    /// From the namespace to this host.
    Out,
}

/// A link with the namespace at its far end. Both are removed when it is dropped.
pub struct Link {
    namespace: String,
    interface: String,
    here: Ipv4Addr,
    ways: [Arc<Mutex<Weather>>; 2],
}

/// The most packets on their way; more are lost.
const QUEUE: usize = 2000;

/// The largest packet, in bytes.
const PACKET: usize = 2048;

/// Numbers the links of this process.
static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Link {
    /// Makes a namespace and a link to it, without delay or loss. Needs root.
    ///
    /// # Errors
    /// When the host has no TUN devices or namespaces.
    pub fn make() -> anyhow::Result<Self> {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let namespace = format!("rpmfarm-{process}-{number}");
        let interface = format!("rf{process}a{number}");
        let far = format!("rf{process}b{number}");
        // 198.18.0.0/15 is for tests of networks: no host has it. Each process gets nets of 4.
        let net = (process.wrapping_mul(7).wrapping_add(number) % 32_768) * 4;
        let address = |host: u32| Ipv4Addr::from(0xc612_0000 + net + host);
        let (here, there) = (address(1), address(2));
        ip(&["netns", "add", &namespace])?;
        let link = Self { namespace, interface, here, ways: [Arc::default(), Arc::default()] };
        let near_end = Tun::make(&link.interface)?;
        let far_end = Tun::make(&far)?;
        let namespace = link.namespace.as_str();
        ip(&["addr", "add", &format!("{here}/30"), "dev", &link.interface])?;
        ip(&["link", "set", &link.interface, "up"])?;
        ip(&["link", "set", &far, "netns", namespace])?;
        ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        ip(&["-n", namespace, "addr", "add", &format!("{there}/30"), "dev", &far])?;
        ip(&["-n", namespace, "link", "set", &far, "up"])?;
        carry(&near_end, &far_end, link.way(Direction::In))?;
        carry(&far_end, &near_end, link.way(Direction::Out))?;
        Ok(link)
    }

    /// The address of this host on the link: what programs in the namespace can reach.
    #[must_use]
    pub const fn here(&self) -> Ipv4Addr {
        self.here
    }

    /// The prefix that runs a command in the namespace.
    #[must_use]
    pub fn inside(&self) -> Vec<String> {
        let path = PathBuf::from("/run/netns").join(&self.namespace);
        vec!["nsenter".into(), format!("--net={}", path.display()), "--".into()]
    }

    /// Changes delay and loss of one direction.
    pub fn set(&self, direction: Direction, weather: Weather) {
        *lock(&self.way(direction)) = weather;
    }

    /// Changes the weather of both ways.
    pub fn set_both(&self, weather: Weather) {
        self.set(Direction::In, weather);
        self.set(Direction::Out, weather);
    }

    fn way(&self, direction: Direction) -> Arc<Mutex<Weather>> {
        let [into, out] = &self.ways;
        match direction {
            Direction::In => into.clone(),
            Direction::Out => out.clone(),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Without their devices the threads end.
        let _ = ip(&["link", "del", &self.interface]);
        let _ = ip(&["netns", "del", &self.namespace]);
    }
}

fn lock(weather: &Mutex<Weather>) -> MutexGuard<'_, Weather> {
    weather.lock()
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.context("cannot start ip (Debian: iproute2)")?;
    if !output.status.success() {
        bail!("ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// A packet with the time of its arrival.
type Travelling = (Instant, Vec<u8>);

/// Moves packets from one device to another, on two threads.
fn carry(from: &Tun, to: &Tun, weather: Arc<Mutex<Weather>>) -> anyhow::Result<()> {
    let (sender, receiver) = sync_channel(QUEUE);
    let (from, to) = (from.file.try_clone()?, to.file.try_clone()?);
    std::thread::spawn(move || take(from, &weather, &sender));
    std::thread::spawn(move || deliver(to, &receiver));
    Ok(())
}

fn take(mut from: std::fs::File, weather: &Mutex<Weather>, packets: &SyncSender<Travelling>) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut buffer = vec![0; PACKET];
    while let Ok(length) = from.read(&mut buffer) {
        let Weather { delay, loss } = *lock(weather);
        if loss > 0.0 && dice.roll() < loss {
            continue;
        }
        // A full queue drops packets, as a router does.
        let _ = packets.try_send((Instant::now() + delay, buffer[..length].to_vec()));
    }
}

fn deliver(mut to: std::fs::File, packets: &Receiver<Travelling>) {
    while let Ok((due, packet)) = packets.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        // A device that is down accepts no packet, and is removed with the link.
        let _ = to.write(&packet);
    }
}

/// Random numbers that are the same in each run (splitmix64).
struct Dice(u64);

impl Dice {
    /// A number from 0 to 1.
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_are_fair_enough() {
        let mut dice = Dice(1);
        let below = (0..100_000).filter(|_| dice.roll() < 0.05).count();
        assert!((4_500..5_500).contains(&below), "{below}");
    }
}
