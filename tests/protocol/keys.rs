//! Fixed keys and fixed bytes in place of randomness.

use nostr::Keys;
use nostr::secp256k1::rand::{CryptoRng, Error, RngCore};
use sha2::{Digest, Sha256};

/// Published in the vectors: of no use for anything else.
pub fn caller() -> Keys {
    keys("callgate vectors: caller")
}

pub fn line() -> Keys {
    keys("callgate vectors: line")
}

pub fn stranger() -> Keys {
    keys("callgate vectors: stranger")
}

fn keys(seed: &str) -> Keys {
    Keys::parse(&format!("{:x}", Sha256::digest(seed))).unwrap()
}

/// SHA-256 of a seed and a counter: the same bytes on every run and with every version of every crate.
pub struct FixedBytes {
    seed: String,
    blocks: u64,
    left: Vec<u8>,
}

impl FixedBytes {
    pub fn new(seed: &str) -> Self {
        Self { seed: seed.to_owned(), blocks: 0, left: Vec::new() }
    }
}

impl RngCore for FixedBytes {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        for byte in dest {
            if self.left.is_empty() {
                self.left = Sha256::digest(format!("{} {}", self.seed, self.blocks)).to_vec();
                self.blocks += 1;
            }
            *byte = self.left.remove(0);
        }
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

// It is not, and its bytes are published: the vectors need no secrecy.
impl CryptoRng for FixedBytes {}
