//! A deterministic mutator of SDP and candidates: the same seed gives the same texts on every machine.
//!
//! Include it with `#[path = "support/mutate.rs"] mod mutate;`.

#![allow(dead_code, reason = "each test binary that includes this uses a part of it")]

/// Lines that have no place, or contradict what is there, or are too much.
const INJECTED: [&str; 46] = [
    "a=group:BUNDLE 0 1 2 3",
    "a=group:BUNDLE 1 0",
    "a=group:BUNDLE 0 0",
    "a=group:BUNDLE",
    "a=group:BUNDLE nobody",
    "a=mid:0",
    "a=mid:1",
    "a=mid:",
    "a=mid:%s%s%n",
    "a=setup:active",
    "a=setup:holdconn",
    "a=setup:",
    "a=sendonly",
    "a=recvonly",
    "a=inactive",
    "a=bundle-only",
    "a=rtcp-mux-only",
    "a=rtcp:0 IN IP4 224.0.0.1",
    "a=ice-lite",
    "a=ice-ufrag:a",
    "a=ice-ufrag:abcd",
    "a=ice-pwd:short",
    "a=ice-pwd:0123456789012345678901",
    "a=ice-options:renomination ice2",
    "a=fingerprint:sha-256 00",
    "a=fingerprint:sha-1 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33",
    "a=rtpmap:96 H264/90000",
    "a=rtpmap:0 opus/48000/2",
    "a=rtpmap:111 opus/0/0",
    "a=rtpmap:127 H264/4294967295/255",
    "a=rtpmap:200 VP8/90000",
    "a=fmtp:96 profile-level-id=zzzzzz;packetization-mode=1",
    "a=fmtp:108 packetization-mode=9;sprop-parameter-sets=,,,;profile-level-id=",
    "a=rtcp-fb:* transport-cc",
    "a=rtcp-fb:300 nack",
    "a=extmap:0 urn:ietf:params:rtp-hdrext:sdes:mid",
    "a=extmap:4096 x",
    "a=ssrc:0 cname:",
    "a=ssrc-group:FID 0 0",
    "a=rid:a send",
    "a=simulcast:send a;~b recv c",
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA",
    "m=audio 0 RTP/AVP 0",
    "m=video 9 UDP/TLS/RTP/SAVPF 96 96",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "b=AS:-1",
];

/// Numbers at and beyond the limits of their types.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "9",
    "95",
    "96",
    "127",
    "128",
    "255",
    "65535",
    "65536",
    "2147483648",
    "4294967296",
    "99999999999999999999",
];

/// What a candidate may have in the place of its address.
const ADDRESSES: [&str; 12] = [
    "127.0.0.1",
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.251",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "2001:db8::1",
    "ad5fe484-e682-4fcb-a97b-31375e9ec94b.local",
    "example.com",
    "1.2.3",
    "%n%n%n%n",
];

/// A source of mutations: xorshift64*.
#[derive(Debug, Clone)]
pub struct Mutator {
    state: u64,
}

impl Mutator {
    pub fn new(seed: u64) -> Self {
        // The state must not be zero; neighbouring seeds must not give neighbouring streams.
        Self { state: (seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1 }
    }

    pub fn number(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 to `end - 1`; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.number() >> 33).unwrap_or(0) % end.max(1)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    /// One to four changes to an SDP.
    pub fn sdp(&mut self, sdp: &str) -> String {
        let mut lines: Vec<String> = sdp.lines().map(str::to_owned).collect();
        for _ in 0..=self.below(4) {
            self.change(&mut lines);
        }
        let end = if self.below(8) == 0 { "\n" } else { "\r\n" };
        let mut text = lines.join(end) + end;
        if self.below(10) == 0 {
            text = self.flip_bytes(text);
        }
        text
    }

    fn change(&mut self, lines: &mut Vec<String>) {
        let at = self.below(lines.len());
        let other = self.below(lines.len());
        if lines.is_empty() {
            return lines.push("v=0".to_owned());
        }
        match self.below(17) {
            0 | 1 => drop(lines.remove(at)),
            2 => lines.insert(other, lines[at].clone()),
            3 => lines.swap(at, other),
            4 => {
                let line = lines.remove(at);
                lines.insert(other.min(lines.len()), line);
            }
            5 => self.change_sections(lines),
            6 | 7 => lines[at] = self.change_number(&lines[at]),
            8 | 9 => {
                let line = self.pick(&INJECTED).to_owned();
                lines.insert(at, line);
            }
            10 => {
                let line = format!("a={}", self.candidate());
                lines.insert(at, line);
            }
            11 => {
                let kept = self.below(lines[at].chars().count());
                lines[at] = lines[at].chars().take(kept).collect();
            }
            12 => {
                let tail = "x".repeat(1 << self.below(13));
                lines[at].push_str(&tail);
            }
            13 => {
                // All lines of one kind: every a=mid, every a=rtcp-mux, every m=.
                let kind = lines[at].split(':').next().unwrap_or_default().to_owned();
                lines.retain(|line| line.split(':').next() != Some(&kind));
            }
            14 => lines[at] = self.change_word(&lines[at]),
            15 => lines.truncate(at),
            _ => lines[at] = self.flip_bytes(lines[at].clone()),
        }
    }

    /// Swaps, drops, repeats or renames whole m-lines.
    fn change_sections(&mut self, lines: &mut Vec<String>) {
        let starts: Vec<usize> = (0..lines.len()).filter(|&at| lines[at].starts_with("m=")).collect();
        let Some(&first) = starts.first() else { return };
        let ends = starts.iter().skip(1).copied().chain([lines.len()]);
        let mut sections: Vec<Vec<String>> = starts.iter().zip(ends).map(|(&a, b)| lines[a..b].to_vec()).collect();
        let (at, other) = (self.below(sections.len()), self.below(sections.len()));
        match self.below(4) {
            0 => sections.swap(at, other),
            1 => drop(sections.remove(at)),
            2 => sections.insert(other, sections[at].clone()),
            _ => {
                let kind = self.pick(&["m=audio", "m=video", "m=application", "m=text", "m=image", "m=x"]);
                let rest = sections[at][0].split_once(' ').map_or("", |(_, rest)| rest).to_owned();
                sections[at][0] = format!("{kind} {rest}");
            }
        }
        lines.truncate(first);
        lines.extend(sections.into_iter().flatten());
    }

    /// Another number for one of the line's.
    fn change_number(&mut self, line: &str) -> String {
        let digit = |at: usize| line.as_bytes()[at].is_ascii_digit();
        let starts: Vec<usize> = (0..line.len()).filter(|&at| digit(at) && (at == 0 || !digit(at - 1))).collect();
        if starts.is_empty() {
            return line.to_owned();
        }
        let start = starts[self.below(starts.len())];
        let end = (start..line.len()).find(|&at| !digit(at)).unwrap_or(line.len());
        let number = self.pick(&NUMBERS);
        format!("{}{number}{}", &line[..start], &line[end..])
    }

    /// Drops, repeats or moves one of the line's words.
    fn change_word(&mut self, line: &str) -> String {
        let mut words: Vec<&str> = line.split(' ').collect();
        let (at, other) = (self.below(words.len()), self.below(words.len()));
        match self.below(3) {
            0 => drop(words.remove(at)),
            1 => words.insert(other, words[at]),
            _ => words.swap(at, other),
        }
        words.join(" ")
    }

    fn flip_bytes(&mut self, text: String) -> String {
        let mut bytes = text.into_bytes();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            let bit = self.below(8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A candidate with up to three words that are not what they should be.
    pub fn candidate(&mut self) -> String {
        let mut words = ["842163049", "1", "udp", "2113937151", "192.0.2.7", "59169", "host", ""];
        for _ in 0..self.below(4) {
            let at = self.below(words.len());
            words[at] = match at {
                0 => self.pick(&["1", "", "a%sb", "0123456789012345678901234567890123456789"]),
                2 => self.pick(&["UDP", "tcp", "sctp", ""]),
                4 => self.pick(&ADDRESSES),
                6 => self.pick(&["srflx", "prflx", "relay", "nonsense", ""]),
                7 => self.pick(&["raddr 0.0.0.0 rport 0", "raddr", "tcptype active", "generation 0 ufrag %s"]),
                _ => self.pick(&NUMBERS),
            };
        }
        let [foundation, component, transport, priority, address, port, kind, rest] = words;
        let text =
            format!("candidate:{foundation} {component} {transport} {priority} {address} {port} typ {kind} {rest}");
        match self.below(8) {
            0 => self.flip_bytes(text),
            1 => self.change_word(&text),
            2 => text.chars().take(self.below(text.len())).collect(),
            _ => text,
        }
    }
}
