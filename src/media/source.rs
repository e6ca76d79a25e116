//! A line's source as the engine has it: one hub for all calls, or one for each.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::hub::{Hub, Lease, Signs};
use super::{Event, LineSettings};
use crate::endpoint::{Endpoint, Programme, Start};

pub(super) enum Source {
    Shared(Hub),
    /// Each call sees the file from its beginning, so each has a hub, which ends with its lease.
    Own(Box<LineSettings>, Arc<Signs>),
}

impl Source {
    pub(super) fn of(line: LineSettings, events: mpsc::Sender<Event>) -> Source {
        match &line.endpoint {
            Endpoint::File(Programme { start: Start::Own, .. }) => {
                let signs = Signs::new(line.name.clone(), events);
                // Nobody would ever see what is kept warm.
                Source::Own(Box::new(LineSettings { keep_warm: false, ..line }), signs)
            }
            _ => Source::Shared(Hub::new(line, events)),
        }
    }

    pub(super) fn lease(&self) -> Lease {
        match self {
            Source::Shared(hub) => hub.lease(),
            Source::Own(line, signs) => Hub::beside(line.as_ref().clone(), signs).lease(),
        }
    }
}
