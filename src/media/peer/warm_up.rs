//! One dummy answer at start: without it the first call waits 30-200 ms for plugins to load and for GStreamer's own certificate.

use std::sync::Arc;

use gst_webrtc::WebRTCSDPType;

use super::connection::Connection;
use super::outgoing::{Format, SourcePad};
use crate::media::certificate::Certificate;
use crate::media::servers::Servers;
use crate::media::tap::Track;
use crate::media::{IceSettings, PeerError};

/// An offer of nobody's, with all that an answer touches.
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=setup:actpass\r\n\
a=ice-ufrag:warm\r\na=ice-pwd:warmwarmwarmwarmwarmwarm\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n\
a=fingerprint:sha-256 00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00\r\n";

/// Answers [`OFFER`] on loopback, asks no server, and takes the peer down.
///
/// # Errors
/// [`PeerError::GStreamer`]: then no call can be answered either.
pub(in crate::media) async fn warm_up(certificate: Arc<Certificate>) -> Result<(), PeerError> {
    let ice = IceSettings { bind: vec![std::net::Ipv4Addr::LOCALHOST.into()], ..IceSettings::default() };
    let mut connection = Connection::build(&ice, Servers::default(), certificate)?;
    let mut pads = Vec::new();
    let answered = answer(&mut connection, &mut pads).await;
    connection.close(false, pads, ()).await;
    answered
}

async fn answer(connection: &mut Connection, pads: &mut Vec<SourcePad>) -> Result<(), PeerError> {
    pads.push(SourcePad::link(connection, 0, Track::Video, &Arc::default())?);
    connection.play()?;
    for pad in &*pads {
        pad.announce(Format::H264, 96)?;
    }
    connection.set_remote(WebRTCSDPType::Offer, OFFER).await?;
    let answer = connection.create("create-answer", "answer").await?;
    connection.set_local(&answer).await?;
    connection.gathered().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use gst::prelude::*;

    use super::*;

    #[tokio::test]
    async fn no_packet_of_an_answered_call_waits_for_its_time() {
        crate::media::init().unwrap();
        let certificate = Arc::new(Certificate::make().unwrap());
        let mut connection = Connection::build(&IceSettings::default(), Servers::default(), certificate).unwrap();
        let mut pads = Vec::new();
        answer(&mut connection, &mut pads).await.unwrap();
        let bin = connection.webrtcbin.clone().downcast::<gst::Bin>().unwrap();
        let waits: Vec<bool> = bin
            .iterate_all_by_element_factory_name("clocksync")
            .into_iter()
            .map(|element| element.unwrap().property("sync"))
            .collect();
        connection.close(false, pads, ()).await;

        assert!(!waits.is_empty() && !waits.contains(&true), "{waits:?}");
    }
}
