//! The network between a caller and a gateway, in this test's hands: it sees every datagram, and can add its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callgate::sdp::{Candidate, CandidateKind};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What went one way, told apart by its first bytes (RFC 7983, section 7; RFC 5761, section 4).
#[derive(Debug, Default)]
pub struct Seen {
    pub stun: AtomicU64,
    pub dtls: AtomicU64,
    pub rtp: AtomicU64,
    pub rtcp: AtomicU64,
    more: Notify,
}

impl Seen {
    fn note(&self, datagram: &[u8]) {
        let counter = match *datagram {
            [0..=3, ..] => &self.stun,
            [20..=63, ..] => &self.dtls,
            [128..=191, 192..=223, ..] => &self.rtcp,
            [128..=191, ..] => &self.rtp,
            _ => return,
        };
        counter.fetch_add(1, Ordering::SeqCst);
        self.more.notify_waiters();
    }

    /// Waits for an RTCP packet that goes by from now on.
    pub async fn next_rtcp(&self) {
        let before = self.rtcp.load(Ordering::SeqCst);
        loop {
            let more = self.more.notified();
            if self.rtcp.load(Ordering::SeqCst) > before {
                return;
            }
            more.await;
        }
    }

    pub fn rtp(&self) -> u64 {
        self.rtp.load(Ordering::SeqCst)
    }

    pub fn dtls(&self) -> u64 {
        self.dtls.load(Ordering::SeqCst)
    }
}

/// Two sockets on loopback: the gateway takes one of them for the caller, the caller takes the other for the gateway.
pub struct Path {
    as_caller: Arc<UdpSocket>,
    as_gateway: Arc<UdpSocket>,
    caller: Option<SocketAddr>,
    pub gateway: Option<SocketAddr>,
    pub to_gateway: Arc<Seen>,
    pub to_caller: Arc<Seen>,
    carriers: Vec<JoinHandle<()>>,
}

impl Path {
    pub async fn new() -> Self {
        let socket = async || Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        Self {
            as_caller: socket().await,
            as_gateway: socket().await,
            caller: None,
            gateway: None,
            to_gateway: Arc::default(),
            to_caller: Arc::default(),
            carriers: Vec::new(),
        }
    }

    /// The caller's offer as the gateway shall see it.
    pub fn offer(&mut self, sdp: &str) -> String {
        let (sdp, caller) = redirect(sdp, self.as_caller.local_addr().unwrap());
        self.caller = Some(caller);
        sdp
    }

    /// The gateway's answer as the caller shall see it. From here on datagrams are carried.
    pub fn answer(&mut self, sdp: &str) -> String {
        let (sdp, gateway) = redirect(sdp, self.as_gateway.local_addr().unwrap());
        self.gateway = Some(gateway);
        let caller = self.caller.expect("the offer comes first");
        self.carry(&self.as_caller.clone(), &self.as_gateway.clone(), caller, self.to_caller.clone());
        self.carry(&self.as_gateway.clone(), &self.as_caller.clone(), gateway, self.to_gateway.clone());
        sdp
    }

    fn carry(&mut self, from: &Arc<UdpSocket>, by: &Arc<UdpSocket>, to: SocketAddr, seen: Arc<Seen>) {
        let (from, by) = (from.clone(), by.clone());
        self.carriers.push(tokio::spawn(async move {
            let mut datagram = vec![0; 65_536];
            loop {
                // Errors are those of a socket on the other side that is closed already.
                let Ok(length) = from.recv(&mut datagram).await else { continue };
                seen.note(&datagram[..length]);
                let _ = by.send_to(&datagram[..length], to).await;
            }
        }));
    }

    /// From here on nothing gets through either way.
    pub fn cut(&self) {
        self.carriers.iter().for_each(JoinHandle::abort);
    }

    /// Sends to the gateway what seems to come from the caller.
    pub async fn forge(&self, datagram: &[u8]) {
        let _ = self.as_caller.send_to(datagram, self.gateway.expect("the answer comes first")).await;
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Puts one candidate at `to` in the place of all; returns where the first UDP one on 127.0.0.1 pointed.
fn redirect(sdp: &str, to: SocketAddr) -> (String, SocketAddr) {
    let mut was = None;
    let mut out = String::new();
    for line in sdp.split_inclusive('\n') {
        if !line.starts_with("a=candidate") {
            out.push_str(line);
        } else if was.is_none()
            && let Ok(Some(candidate)) = Candidate::read(line.trim_end())
            && candidate.address.is_loopback()
        {
            was = Some(SocketAddr::new(candidate.address, candidate.port));
            let candidate = Candidate { address: to.ip(), port: to.port(), kind: CandidateKind::Host, ..candidate };
            out.push_str(&format!("a={}\r\n", candidate.text().trim_start_matches("a=")));
        }
    }
    (out, was.expect("a candidate on 127.0.0.1"))
}
