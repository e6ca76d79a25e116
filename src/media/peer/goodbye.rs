//! Closing DTLS, so that the other side knows at once that the call is over.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use gst::prelude::*;

/// The alert leaves from a thread of `dtlsenc`, within a millisecond where that thread finds a core. Where it does not, this is waited for: who is
/// not told notices the end after seconds of silence only.
const SENT_WITHIN: Duration = Duration::from_millis(500);
/// The content type of a DTLS alert (RFC 6347, section 4.1).
const ALERT: u8 = 21;

/// Makes `webrtcbin` send close_notify, and waits until it was sent. Its own state change to Null sends none. Must not run on a streaming thread.
pub(super) fn close_notify(webrtcbin: &gst::Element) {
    let Some(bin) = webrtcbin.downcast_ref::<gst::Bin>() else { return };
    for element in bin.iterate_all_by_element_factory_name("dtlsenc").into_iter().flatten() {
        let (Some(sink), Some(src)) = (element.sink_pads().into_iter().next(), element.static_pad("src")) else {
            continue;
        };
        let (sent, left) = sync_channel::<()>(1);
        let probe = src.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let alert = info
                .buffer()
                .and_then(|buffer| buffer.map_readable().ok())
                .is_some_and(|bytes| bytes.first() == Some(&ALERT));
            if alert {
                let _ = sent.try_send(());
            }
            gst::PadProbeReturn::Ok
        });
        // On end of stream `dtlsenc` closes its side of the connection.
        sink.send_event(gst::event::Eos::new());
        let leaving = left.recv_timeout(SENT_WITHIN).is_ok();
        if let Some(probe) = probe {
            src.remove_probe(probe);
        }
        if leaving {
            // The pad is idle again when the socket has taken the packet.
            let (idle, gone) = sync_channel::<()>(1);
            src.add_probe(gst::PadProbeType::IDLE, move |_, _| {
                let _ = idle.try_send(());
                gst::PadProbeReturn::Remove
            });
            let _ = gone.recv_timeout(SENT_WITHIN);
        }
    }
}
