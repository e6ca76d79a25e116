//! Networks of a test's own: hosts, and routers with NAT between them, each a network namespace.
//!
//! ```ignore
//! let net = Net::new();                       // first, so that it is dropped last
//! let relay = net.relay();                    // in the middle, where everybody reaches it
//! let home = net.behind(Nat::Masquerade);     // a host on a private network
//! let daemon = Daemon::spawn(home.command(env!("CARGO_BIN_EXE_callgate")), &["run", ...]);
//! ```
//!
//! The core stands for the Internet: it has the servers' addresses, and a link to every router and to every host without one. Names are
//! unique, so that tests run side by side; namespaces go away with the [`Net`], also when a test panics, and those of a test that was
//! killed with the next one.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callgate::signaling::Embedded;
use nostr::RelayUrl;
use tokio::sync::oneshot;

/// Where the servers are: in the blocks for documentation (RFC 5737, RFC 3849), which callgate takes for public ones.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

pub const RELAY_PORT: u16 = 7777;
pub const TURN_PORT: u16 = 3478;
pub const TURNS_PORT: u16 = 5349;
pub const TURN_USER: &str = "caller";
pub const TURN_PASSWORD: &str = "turn-password-5a1f";

/// Where the system keeps the namespaces' names.
const NAMES: &str = "/run/netns";

/// How a router translates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// A port is kept where it is free, so that one mapping serves all peers: what most home routers do.
    Masquerade,
    /// Another port for each peer, at random: what STUN finds is of no use to anybody else.
    Symmetric,
}

/// The networks of one test.
pub struct Net {
    tag: String,
    links: Cell<u8>,
    names: RefCell<Vec<String>>,
}

/// A network namespace: a host, a router, or the core.
#[derive(Debug, Clone)]
pub struct Space {
    name: String,
    /// Its own address, if it has one of this family.
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// A host behind a router.
#[derive(Debug, Clone)]
pub struct Behind {
    pub host: Space,
    pub router: Space,
    /// The third byte of its network, 10.0.n.0/24.
    number: u8,
}

impl Net {
    /// Makes the core. Panics with one line when this is not root.
    pub fn new() -> Self {
        static NETS: AtomicU32 = AtomicU32::new(0);
        // SAFETY: it reads a number.
        let root = unsafe { libc::geteuid() } == 0;
        assert!(root, "tests of networks make network namespaces: run them as root");
        sweep();
        let tag = format!("callgate-{}-{}", std::process::id(), NETS.fetch_add(1, Ordering::Relaxed));
        let net = Self { tag, links: Cell::new(0), names: RefCell::default() };
        let core = net.space("core", true);
        core.ip(&[
            &format!("addr add {SERVER}/32 dev lo"),
            &format!("addr add {SERVER_V6}/128 dev lo nodad"),
            // What goes to an address that nobody has is lost without a word, as on the Internet: coturn ends a session whose peer the
            // system calls unreachable.
            "link add void type veth peer name nobody",
            "link set void arp off",
            "link set void up",
            "link set nobody up",
            "route add default dev void",
        ]);
        net
    }

    /// Where the servers run.
    pub fn core(&self) -> Space {
        Space { name: format!("{}-core", self.tag), v4: Some(SERVER), v6: Some(SERVER_V6) }
    }

    /// A host on a private IPv4 network, behind a router that translates.
    pub fn behind(&self, nat: Nat) -> Behind {
        let number = self.next_link();
        let (core, router) = (self.core(), self.space(&format!("router{number}"), true));
        let host = self.space(&format!("host{number}"), false);
        link(&core, &format!("to{number}"), &router, "wan");
        core.ip(&[&format!("addr add 203.0.113.{}/31 dev to{number}", 2 * number)]);
        router.ip(&[
            &format!("addr add 203.0.113.{}/31 dev wan", 2 * number + 1),
            &format!("route add default via 203.0.113.{}", 2 * number),
        ]);
        link(&router, "lan", &host, "eth0");
        router.ip(&[&format!("addr add 10.0.{number}.1/24 dev lan")]);
        let behind = Behind { host: Space { v4: Some(Ipv4Addr::new(10, 0, number, 2)), ..host }, router, number };
        behind
            .host
            .ip(&[&format!("addr add 10.0.{number}.2/24 dev eth0"), &format!("route add default via 10.0.{number}.1")]);
        let how = match nat {
            Nat::Masquerade => "masquerade",
            Nat::Symmetric => "masquerade fully-random",
        };
        // Whatever comes unasked is dropped before it is tracked: else a peer's first packet, come too early, would take the place in the
        // table that the host's own packet to that peer needs for keeping its port.
        behind.router.nft(&format!(
            "table ip nat {{\n\
               chain out {{\n type nat hook postrouting priority 100; policy accept;\n oifname \"wan\" {how}\n }}\n\
               chain in {{\n type filter hook input priority 0; policy accept;\n iifname \"wan\" meta l4proto udp drop\n }}\n\
             }}\n"
        ));
        behind
    }

    /// A host with a public IPv6 address and no IPv4 at all.
    pub fn v6_only(&self) -> Space {
        let number = self.next_link();
        let core = self.core();
        let host = self.space(&format!("host{number}"), false);
        link(&core, &format!("to{number}"), &host, "eth0");
        let (gateway, address) = (format!("2001:db8:{number}::1"), format!("2001:db8:{number}::2"));
        core.ip(&[&format!("addr add {gateway}/64 dev to{number} nodad")]);
        host.ip(&[&format!("addr add {address}/64 dev eth0 nodad"), &format!("route add default via {gateway}")]);
        Space { v6: Some(address.parse().expect("an address")), ..host }
    }

    /// A relay in the core.
    pub fn relay(&self) -> Relay {
        Relay::start(&self.core())
    }

    /// A TURN server in the core, over UDP, TCP and TLS.
    pub fn turn(&self) -> Turn {
        Turn::start(&self.core())
    }

    fn next_link(&self) -> u8 {
        self.links.set(self.links.get() + 1);
        self.links.get()
    }

    fn space(&self, what: &str, forwards: bool) -> Space {
        let name = format!("{}-{what}", self.tag);
        run(Command::new("ip").args(["netns", "add", &name]));
        self.names.borrow_mut().push(name.clone());
        let space = Space { name, v4: None, v6: None };
        space.enter(move || {
            // Addresses of ours are unique, and nobody waits for a second look.
            set("ipv6/conf/all/accept_dad", "0");
            set("ipv6/conf/default/accept_dad", "0");
            if forwards {
                set("ipv4/ip_forward", "1");
                set("ipv6/conf/all/forwarding", "1");
            }
        });
        space.ip(&["link set lo up"]);
        space
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in self.names.borrow().iter().rev() {
            remove(name);
        }
    }
}

/// Removes what tests left behind that were killed.
fn sweep() {
    let Ok(names) = fs::read_dir(NAMES) else { return };
    for name in names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let owner = name.strip_prefix("callgate-").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !fs::exists(format!("/proc/{pid}")).unwrap_or(true)) {
            remove(&name);
        }
    }
}

/// Ends what runs in a namespace of ours, and removes it. Another test's sweep may do the same.
fn remove(name: &str) {
    if let Ok(output) = Command::new("ip").args(["netns", "pids", name]).stderr(Stdio::null()).output() {
        for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            let _ = Command::new("kill").args(["-KILL", pid]).stderr(Stdio::null()).status();
        }
    }
    let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
}

fn set(key: &str, value: &str) {
    let file = format!("/proc/sys/net/{key}");
    fs::write(&file, value).unwrap_or_else(|error| panic!("{file}: {error}"));
}

/// Joins two namespaces with a cable.
fn link(one: &Space, its: &str, other: &Space, theirs: &str) {
    let cable = ["link", "add", its, "netns", &one.name, "type", "veth", "peer", "name", theirs, "netns", &other.name];
    run(Command::new("ip").args(cable));
    for (space, device) in [(one, its), (other, theirs)] {
        space.ip(&[&format!("link set {device} up")]);
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
}

fn feed(command: &mut Command, text: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it was started");
    assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr).trim());
}

impl Space {
    /// A program to be started in here. The process has the command's id.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `ip` commands in here, one a line.
    pub fn ip(&self, lines: &[&str]) {
        feed(Command::new("ip").args(["-netns", &self.name, "-batch", "-"]), &lines.join("\n"));
    }

    /// Loads nftables rules in here.
    pub fn nft(&self, rules: &str) {
        feed(self.command("nft").args(["-f", "-"]), rules);
    }

    /// Pulls the cable of its interface, or puts it back in.
    pub fn cable(&self, device: &str, plugged: bool) {
        self.ip(&[&format!("link set {device} {}", if plugged { "up" } else { "down" })]);
    }

    /// Runs `what` on a thread in here: a socket belongs to the namespace that it was opened in, wherever it is used then.
    pub fn enter<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> T {
        let name = self.name.clone();
        let thread = std::thread::spawn(move || {
            enter(&name);
            what()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// A connection to an address in here.
    pub fn connect(&self, address: SocketAddr) -> std::net::TcpStream {
        self.enter(move || std::net::TcpStream::connect(address))
            .unwrap_or_else(|error| panic!("{} in {}: {error}", address, self.name))
    }
}

/// Moves this thread into a namespace, for good.
fn enter(name: &str) {
    let file = fs::File::open(format!("{NAMES}/{name}")).expect("the namespace is there");
    // SAFETY: the descriptor is open until it returns, and nothing but this thread is moved.
    let moved = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(moved, 0, "{name}: {}", std::io::Error::last_os_error());
}

impl Behind {
    /// Drops all UDP that the host sends or gets.
    pub fn drop_udp(&self) {
        self.router.nft(
            "table inet firewall {\n chain through {\n type filter hook forward priority 0; policy accept;\n\
             meta l4proto udp drop\n }\n}\n",
        );
    }

    /// Gives the host another address on its network, as when a telephone changes networks: connections from the old one are dead.
    pub fn change_address(&mut self) {
        let old = self.host.v4.expect("it has one");
        let new = Ipv4Addr::new(10, 0, self.number, old.octets()[3] + 1);
        self.host.ip(&[
            &format!("addr del {old}/24 dev eth0"),
            &format!("addr add {new}/24 dev eth0"),
            &format!("route replace default via 10.0.{}.1", self.number),
        ]);
        self.host.v4 = Some(new);
    }
}

/// A relay in a namespace, on a thread that lives there. It goes away when dropped.
pub struct Relay {
    _stop: oneshot::Sender<()>,
    v6: bool,
}

impl Relay {
    fn start(space: &Space) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, ready) = std::sync::mpsc::sync_channel(1);
        let name = space.name.clone();
        std::thread::spawn(move || {
            enter(&name);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let v4 = Embedded::start((SERVER, RELAY_PORT).into()).await.expect("a relay");
                let v6 = Embedded::start((SERVER_V6, RELAY_PORT).into()).await.expect("a relay");
                let _ = tell.send(());
                let _ = stopped.await;
                drop((v4, v6));
            });
        });
        ready.recv().expect("the relay is up");
        Self { _stop: stop, v6: false }
    }

    /// The same, for hosts without IPv4. What one address takes the other does not have.
    pub fn over_v6(self) -> Self {
        Self { v6: true, ..self }
    }

    pub fn url(&self) -> RelayUrl {
        let server: IpAddr = if self.v6 { SERVER_V6.into() } else { SERVER.into() };
        RelayUrl::parse(&format!("ws://{}", SocketAddr::new(server, RELAY_PORT))).expect("a URL")
    }
}

/// coturn in a namespace. It goes away when dropped.
pub struct Turn {
    child: Child,
    folder: tempfile::TempDir,
}

impl Turn {
    fn start(space: &Space) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        let configuration = format!(
            "listening-ip={SERVER}\nlistening-ip={SERVER_V6}\nrelay-ip={SERVER}\nrelay-ip={SERVER_V6}\n\
             listening-port={TURN_PORT}\nmin-port=52000\nmax-port=52999\n\
             lt-cred-mech\nrealm=test\nuser={TURN_USER}:{TURN_PASSWORD}\nfingerprint\n\
             no-cli\nverbose\nno-tls\nno-dtls\nno-multicast-peers\nrelay-threads=1\n\
             log-file={}\nsimple-log\npidfile={}\nuserdb={}\n",
            file("log"),
            file("pid"),
            file("db"),
        );
        fs::write(file("turnserver.conf"), configuration).expect("a writable folder");
        let child = space
            .command("turnserver")
            .args(["-c", &file("turnserver.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver (Debian: apt-get install coturn)");
        let turn = Self { child, folder };
        for server in [IpAddr::from(SERVER), IpAddr::from(SERVER_V6)] {
            space.enter(move || answers_stun((server, TURN_PORT).into()));
        }
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("coturn until then:\n{}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing tells when a port is opened")]
/// Returns when a server answers a Binding request (RFC 8489, section 5). It says nowhere that it is ready: it is asked until it is.
fn answers_stun(server: SocketAddr) {
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).expect("a port");
    socket.connect(server).expect("a route");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time");
    for _ in 0..400 {
        // Where nobody listens yet, the system says so at once.
        if socket.send(&request).is_ok() && socket.recv(&mut [0; 512]).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no STUN server at {server}");
}
