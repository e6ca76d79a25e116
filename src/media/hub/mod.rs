//! The hub: one source per line, shared by its calls.

use tokio::sync::mpsc;

use super::tap::{PacketSink, TapSettings, TapStats};
use super::{Event, LineSettings, SourceError};
use crate::endpoint::Streams;

#[derive(Clone)]
pub struct Hub;
pub struct Lease;
pub struct Tap;

impl Hub {
    pub fn new(_settings: LineSettings, _events: mpsc::Sender<Event>) -> Hub {
        todo!()
    }
    pub fn lease(&self) -> Lease {
        todo!()
    }
}

impl Lease {
    pub async fn streams(&self) -> Result<Streams, SourceError> {
        todo!()
    }
    pub fn tap(&self, _settings: TapSettings, _sink: Box<dyn PacketSink>) -> Tap {
        todo!()
    }
}

impl Tap {
    pub fn stats(&self) -> TapStats {
        todo!()
    }
}
