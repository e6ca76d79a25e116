//! A `webrtcbin` in a pipeline of its own: ICE, DTLS and what they report. Used by the answering and by the offering side.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst_webrtc::{
    WebRTCDTLSTransport, WebRTCDTLSTransportState, WebRTCICEConnectionState, WebRTCICEGatheringState,
    WebRTCRTPTransceiver, WebRTCSDPType, WebRTCSessionDescription,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use super::goodbye;
use super::outgoing::{SourcePad, flush};
use super::records::Records;
use super::resend::KEPT;
use crate::media::certificate::{Certificate, fingerprint_of};
use crate::media::servers::Servers;
use crate::media::{IceSettings, PeerError, Teardown, teardown};
use crate::sdp::{Candidate, Fingerprint};

/// `webrtcbin` answers within milliseconds, the first of a process within 200 ms of computing: plugins load, and GStreamer makes a certificate
/// of its own. A machine with ten times the work that it can do takes seconds for that, and the caller still rings. Past this it never will.
const PROMISE_DEADLINE: Duration = Duration::from_secs(20);
/// Gathering waits for STUN and TURN servers at most this long: later candidates follow the answer one by one.
const GATHERING_DEADLINE: Duration = Duration::from_secs(1);
/// Milliseconds between two connectivity checks: the least that RFC 8445, section 14.2, allows. libnice's 20 cost a call 45 ms, since even
/// one pair takes three steps.
const CHECK_PACING: u32 = 5;
/// libnice's signal for the other side's first connectivity check.
const CHECKED: &str = "initial-binding-request-received";
/// SSRCs (each with a jitter buffer and a thread) that the other side may make us keep: two tracks, their retransmissions, and some that
/// were replaced and have not timed out.
const MAX_STREAMS: u32 = 16;
/// Local candidates that can wait to be read. More addresses than this no answer should carry: the rest is dropped.
const MAX_CANDIDATES: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::media) enum Ice {
    #[default]
    Pending,
    Connected,
    Failed,
}

/// How far DTLS is. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::media) enum Dtls {
    #[default]
    Pending,
    Connected,
    /// The other side said goodbye.
    Closed,
    Failed,
}

/// What callbacks report. A watched state, not a queue: nothing of it can be lost or pile up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::media) struct Progress {
    pub(in crate::media) gathered: bool,
    /// The other side's first connectivity check came.
    pub(in crate::media) checked: bool,
    pub(in crate::media) ice: Ice,
    pub(in crate::media) dtls: Dtls,
    /// The first error on the pipeline's bus.
    pub(in crate::media) fault: Option<String>,
    /// Elements that said that their latency changed.
    pub(in crate::media) latency_changes: u32,
    pub(in crate::media) first_media: bool,
}

impl Progress {
    /// What ended the connection, if anything did; `secured`: it was up before.
    pub(in crate::media) fn failure(&self, secured: bool) -> Option<PeerError> {
        match self.dtls {
            Dtls::Closed => return Some(PeerError::ClosedByCaller),
            Dtls::Failed => return Some(PeerError::DtlsFailed),
            Dtls::Connected | Dtls::Pending => {}
        }
        // In a live call the path is lost, which is not the end.
        if self.ice == Ice::Failed && !secured {
            return Some(PeerError::IceFailed);
        }
        self.fault.clone().map(PeerError::GStreamer)
    }
}

/// Packets (RTP, RTCP, DTLS; not STUN) that came from the other side.
#[derive(Debug)]
pub(in crate::media) struct Arrivals {
    began: Instant,
    packets: AtomicU64,
    /// Milliseconds after `began`.
    last: AtomicU64,
    /// The last of them was a protected alert.
    alert: AtomicBool,
}

impl Arrivals {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            packets: AtomicU64::new(0),
            last: AtomicU64::new(0),
            alert: AtomicBool::new(false),
        }
    }

    fn note(&self, alert: bool) {
        self.alert.store(alert, Ordering::Relaxed);
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.last.store(self.began.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether what came last seems to be a goodbye. Anybody may have sent it: only silence after it says more.
    pub(in crate::media) fn end_with_alert(&self) -> bool {
        self.alert.load(Ordering::Relaxed)
    }

    pub(in crate::media) fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    /// For how long nothing came.
    pub(in crate::media) fn silence(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

/// A playing pipeline with nothing but a `webrtcbin` in it. [`Connection::close`] takes it down and says how that went.
pub(in crate::media) struct Connection {
    pub(in crate::media) pipeline: gst::Pipeline,
    pub(in crate::media) webrtcbin: gst::Element,
    pub(in crate::media) progress: watch::Receiver<Progress>,
    pub(in crate::media) report: Arc<watch::Sender<Progress>>,
    /// Candidate lines as `webrtcbin` writes them.
    pub(in crate::media) candidates: mpsc::Receiver<String>,
    pub(in crate::media) arrivals: Arc<Arrivals>,
    /// Whether gathering has to ask servers.
    asks_servers: bool,
    /// What `webrtcbin` was asked and has not replied to, whoever still waits for it.
    at_work: TaskTracker,
    /// [`Connection::close`] has it.
    closing: bool,
}

impl Drop for Connection {
    /// Where a task was cut short, as when the process ends. A pipeline must not be freed while it plays, nor be stopped here.
    fn drop(&mut self) {
        if !self.closing {
            let pipeline = self.pipeline.clone();
            let _ = std::thread::Builder::new().name("teardown".into()).spawn(move || teardown::stop(&pipeline));
        }
    }
}

impl Connection {
    /// Builds the pipeline; it is left in the Null state, so that pads can be requested and signals connected. Blocks for milliseconds.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`] when an element is missing.
    pub(in crate::media) fn build(
        ice: &IceSettings,
        servers: Servers,
        certificate: Arc<Certificate>,
    ) -> Result<Self, PeerError> {
        let pipeline = gst::Pipeline::new();
        // The same clock and base time as in the hubs' pipelines: a buffer's PTS means the same moment in all of them.
        pipeline.use_clock(Some(&gst::SystemClock::obtain()));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(gst::ClockTime::ZERO);
        let webrtcbin = gst::ElementFactory::make("webrtcbin")
            .property_from_str("bundle-policy", "max-bundle")
            .build()
            .map_err(|_| fault("there is no webrtcbin"))?;
        let (report, progress) = watch::channel(Progress::default());
        let report = Arc::new(report);
        let (found, candidates) = mpsc::channel(MAX_CANDIDATES);
        let arrivals = Arc::new(Arrivals::new());
        configure_ice(&webrtcbin, ice, &servers, &report)?;
        watch_elements(&webrtcbin, certificate, &arrivals, &report)?;
        watch_ice(&webrtcbin, &report, found);
        watch_bus(&pipeline, &report);
        pipeline.add(&webrtcbin).map_err(|_| fault("webrtcbin cannot be added"))?;
        let asks_servers = servers.are_asked();
        Ok(Self {
            pipeline,
            webrtcbin,
            progress,
            report,
            candidates,
            arrivals,
            asks_servers,
            at_work: TaskTracker::new(),
            closing: false,
        })
    }

    /// Starts the pipeline. Blocks for milliseconds.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`].
    pub(in crate::media) fn play(&self) -> Result<(), PeerError> {
        self.pipeline.set_state(gst::State::Playing).map_err(|_| fault("the peer's pipeline does not start")).map(drop)
    }

    /// # Errors
    /// [`PeerError::GStreamer`] when `webrtcbin` refuses it or does not answer.
    pub(in crate::media) async fn set_remote(&self, kind: WebRTCSDPType, text: &str) -> Result<(), PeerError> {
        let description = description(kind, text)?;
        self.ask("set-remote-description", |promise| {
            self.webrtcbin.emit_by_name::<()>("set-remote-description", &[&description, promise]);
        })
        .await
        .map(drop)
    }

    /// # Errors
    /// [`PeerError::GStreamer`] when `webrtcbin` refuses it or does not answer.
    pub(in crate::media) async fn set_local(&self, description: &WebRTCSessionDescription) -> Result<(), PeerError> {
        self.ask("set-local-description", |promise| {
            self.webrtcbin.emit_by_name::<()>("set-local-description", &[description, promise]);
        })
        .await?;
        self.watch_transport();
        Ok(())
    }

    /// The offer or answer that `webrtcbin` makes: `action` is `create-offer` or `create-answer`, `field` `offer` or `answer`.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`].
    pub(in crate::media) async fn create(
        &self,
        action: &'static str,
        field: &'static str,
    ) -> Result<WebRTCSessionDescription, PeerError> {
        let reply = self
            .ask(action, |promise| {
                self.webrtcbin.emit_by_name::<()>(action, &[&None::<gst::Structure>, promise]);
            })
            .await?;
        reply
            .and_then(|reply| reply.get::<WebRTCSessionDescription>(field).ok())
            .ok_or_else(|| fault(&format!("{action} gave no description")))
    }

    /// Emits an action with a promise and waits for its reply.
    async fn ask(
        &self,
        action: &'static str,
        emit: impl FnOnce(&gst::Promise),
    ) -> Result<Option<gst::Structure>, PeerError> {
        let (tell, reply) = oneshot::channel();
        let at_work = self.at_work.token();
        let promise = gst::Promise::with_change_func(move |reply| {
            drop(at_work);
            let _ = tell.send(reply.map(|structure| structure.map(ToOwned::to_owned)));
        });
        emit(&promise);
        drop(promise);
        let reply = tokio::time::timeout(PROMISE_DEADLINE, reply)
            .await
            .map_err(|_| fault(&format!("{action} got no reply")))?
            .map_err(|_| fault(&format!("{action} was dropped")))?
            .map_err(|error| fault(&format!("{action}: {error:?}")))?;
        if let Some(error) = reply.as_ref().and_then(|reply| reply.get::<glib::Error>("error").ok()) {
            return Err(fault(&format!("{action}: {error}")));
        }
        Ok(reply)
    }

    /// Waits until gathering is complete, or long enough: whether it is. Then [`Connection::candidates`] holds what was found.
    pub(in crate::media) async fn gathered(&mut self) -> bool {
        // Host candidates need no network: `webrtcbin` tells at once. A server that does not answer is not waited for.
        let deadline = if self.asks_servers { GATHERING_DEADLINE } else { PROMISE_DEADLINE };
        let gathered = self.progress.wait_for(|progress| progress.gathered);
        matches!(tokio::time::timeout(deadline, gathered).await, Ok(Ok(_)))
    }

    /// The one transport of the bundle. It is there once there is a local description.
    pub(super) fn transport(&self) -> Option<WebRTCDTLSTransport> {
        self.webrtcbin.emit_by_name::<Option<WebRTCRTPTransceiver>>("get-transceiver", &[&0_i32])?.sender()?.transport()
    }

    fn watch_transport(&self) {
        let Some(transport) = self.transport() else { return };
        let report = Arc::downgrade(&self.report);
        // Several threads notify: who read the state first may tell it last.
        let tell = |report: &watch::Sender<Progress>, dtls: Dtls| {
            report.send_if_modified(|progress| {
                progress.dtls < dtls && {
                    progress.dtls = dtls;
                    true
                }
            });
        };
        transport.connect_state_notify(move |transport| {
            if let Some(report) = report.upgrade() {
                tell(&report, dtls_of(transport.state()));
            }
        });
        tell(&self.report, dtls_of(transport.state()));
    }

    /// Compares the certificate that the other side showed with those that its description names. `webrtcbin` 1.22 takes any: whoever is on
    /// the path could have taken the call over.
    ///
    /// # Errors
    /// [`PeerError::FingerprintMismatch`].
    pub(in crate::media) fn verify(&self, named: &[Fingerprint]) -> Result<(), PeerError> {
        let shown = self.transport().and_then(|transport| fingerprint_of(transport.remote_certificate()?.as_str()));
        match shown {
            Some(shown) if named.contains(&shown) => Ok(()),
            _ => Err(PeerError::FingerprintMismatch),
        }
    }

    /// The local candidates that were found since the last look.
    pub(in crate::media) fn found(&mut self) -> Vec<Candidate> {
        let lines = std::iter::from_fn(|| self.candidates.try_recv().ok());
        lines.filter_map(|line| Candidate::read(&line).ok().flatten()).collect()
    }

    /// Gives ICE a candidate that passed the guard, for an m-line that is taken: `webrtcbin` drops those of others.
    pub(in crate::media) fn add_candidate(&self, section: usize, candidate: &Candidate) {
        self.webrtcbin.emit_by_name::<()>("add-ice-candidate", &[&(section as u32), &candidate.text()]);
    }

    /// The RTP session, once there is a local description.
    pub(in crate::media) fn rtp_session(&self) -> Option<glib::Object> {
        let rtpbin = self.webrtcbin.downcast_ref::<gst::Bin>()?.by_name("rtpbin")?;
        rtpbin.emit_by_name::<Option<glib::Object>>("get-internal-session", &[&0_u32])
    }

    /// Asks for packets that got lost. `webrtcbin` does so by itself only for an SSRC that the other side's description names, which a guarded one
    /// does not. An answerer that promised nothing ignores it.
    pub(in crate::media) fn ask_for_lost_packets(&self) {
        let Some(rtpbin) = self.webrtcbin.downcast_ref::<gst::Bin>().and_then(|bin| bin.by_name("rtpbin")) else {
            return;
        };
        rtpbin.connect("new-jitterbuffer", false, |values| {
            if let Some(Ok(buffer)) = values.get(1).map(|value| value.get::<gst::Element>())
                && buffer.find_property("do-retransmission").is_some()
            {
                buffer.set_property("do-retransmission", true);
                // Only what others have overtaken is missing: left to guess when the next packet is due, the buffer gives up a
                // picture that comes later than that, and throws it away when it is there.
                buffer.set_property("rtx-next-seqnum", false);
            }
            None
        });
    }

    /// Takes it down off the streaming threads, with the pads that lead to it and whatever pushes on them; `polite` closes DTLS, if it is up, so
    /// that the other side knows at once.
    pub(in crate::media) async fn close(
        mut self,
        polite: bool,
        pads: Vec<SourcePad>,
        feeds: impl Send + 'static,
    ) -> Teardown {
        self.closing = true;
        let polite = polite && self.progress.borrow().dtls == Dtls::Connected;
        // Amid what it was asked `webrtcbin` adds and links elements on a thread of its own, and brings them to the state that their parent had.
        // A pipeline that is set to Null then takes the changing links for a loop, and leaves elements playing in a bin that is Null.
        self.at_work.close();
        if tokio::time::timeout(teardown::DEADLINE, self.at_work.wait()).await.is_err() {
            tracing::warn!("webrtcbin is taken down amid what it was asked");
        }
        teardown::take_down(self.pipeline.clone(), move || {
            // Before anything flushes: the alert leaves through the same sink as the media.
            if polite {
                goodbye::close_notify(&self.webrtcbin);
            }
            // A push that is stuck in there comes back, and who pushes with it.
            flush(pads);
            drop(feeds);
            drop(self);
        })
        .await
    }
}

/// A fault of GStreamer's or ours, in words.
pub(in crate::media) fn fault(what: &str) -> PeerError {
    PeerError::GStreamer(what.to_owned())
}

fn description(kind: WebRTCSDPType, text: &str) -> Result<WebRTCSessionDescription, PeerError> {
    let message =
        gst_sdp::SDPMessage::parse_buffer(text.as_bytes()).map_err(|_| fault("our own SDP text cannot be parsed"))?;
    Ok(WebRTCSessionDescription::new(kind, message))
}

fn configure_ice(
    webrtcbin: &gst::Element,
    settings: &IceSettings,
    servers: &Servers,
    report: &Arc<watch::Sender<Progress>>,
) -> Result<(), PeerError> {
    let object =
        |of: &glib::Object, name: &str| of.find_property(name).and_then(|_| of.property::<Option<glib::Object>>(name));
    let ice = object(webrtcbin.upcast_ref(), "ice-agent").ok_or_else(|| fault("webrtcbin has no ICE agent"))?;
    let agent = object(&ice, "agent").ok_or_else(|| fault("the ICE agent is not libnice's"))?;
    // UPnP costs a thread, 14 file descriptors and 200 ms a call, and crashes when a call ends early.
    for (name, value) in [("upnp", false), ("ice-tcp", false), ("keepalive-conncheck", true)] {
        if agent.find_property(name).is_some() {
            agent.set_property(name, value);
        }
    }
    if agent.find_property("stun-pacing-timer").is_some() {
        agent.set_property("stun-pacing-timer", CHECK_PACING);
    }
    if glib::subclass::SignalId::lookup(CHECKED, agent.type_()).is_some() {
        let weak = Arc::downgrade(report);
        agent.connect(CHECKED, false, move |_| {
            if let Some(report) = weak.upgrade() {
                report.send_modify(|progress| progress.checked = true);
            }
            None
        });
    }
    if let Some((low, high)) = settings.ports {
        ice.set_property("min-rtp-port", u32::from(low));
        ice.set_property("max-rtp-port", u32::from(high));
    }
    // Loopback addresses become candidates only when asked for here.
    for address in &settings.bind {
        if !ice.emit_by_name::<bool>("add-local-ip-address", &[&address.to_string()]) {
            return Err(fault("an address of ice.bind is not local"));
        }
    }
    if settings.relay_only {
        webrtcbin.set_property_from_str("ice-transport-policy", "relay");
    }
    if let Some(server) = &servers.stun {
        webrtcbin.set_property("stun-server", server);
    }
    for server in &servers.turn {
        if !webrtcbin.emit_by_name::<bool>("add-turn-server", &[server]) {
            return Err(fault("a TURN server was refused"));
        }
    }
    Ok(())
}

/// Sets what elements within `webrtcbin` need, as they appear.
fn watch_elements(
    webrtcbin: &gst::Element,
    certificate: Arc<Certificate>,
    arrivals: &Arc<Arrivals>,
    report: &Arc<watch::Sender<Progress>>,
) -> Result<(), PeerError> {
    let bin = webrtcbin.downcast_ref::<gst::Bin>().ok_or_else(|| fault("webrtcbin is no bin"))?;
    if let Some(rtpbin) = bin.by_name("rtpbin") {
        rtpbin.set_property("max-streams", MAX_STREAMS);
    }
    let arrivals = arrivals.clone();
    let report = Arc::downgrade(report);
    bin.connect_deep_element_added(move |_, _, element| {
        let Some(factory) = element.factory() else { return };
        match factory.name().as_str() {
            "dtlssrtpdec" if element.find_property("pem").is_some() => {
                element.set_property("pem", certificate.pem());
            }
            // So that a packet can be sent again: libsrtp refuses a number that it has seen, or that is older than its window.
            "srtpenc" if element.find_property("allow-repeat-tx").is_some() => {
                element.set_property("allow-repeat-tx", true);
                element.set_property("replay-window-size", 2 * KEPT as u32);
            }
            // Packets leave when a tap pushes them. Waiting for their time holds up both tracks, which share the tap's thread: a camera whose
            // sound is timed ahead (rtspsrc aligns it with a picture that came late) would get no picture through at all.
            "clocksync" => element.set_property("sync", false),
            "nicesrc" => {
                let Some(pad) = element.static_pad("src") else { return };
                let (arrivals, report, records) = (arrivals.clone(), report.clone(), Records::default());
                pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, probe| {
                    let handshaking = || report.upgrade().is_some_and(|report| report.borrow().dtls == Dtls::Pending);
                    let admit = |buffer: &gst::BufferRef| {
                        buffer.map_readable().is_ok_and(|datagram| records.admit(&datagram, handshaking))
                    };
                    let admitted = match &probe.data {
                        Some(gst::PadProbeData::Buffer(buffer)) => admit(buffer),
                        // Datagrams that were read together are dropped together: media among them is sent again.
                        Some(gst::PadProbeData::BufferList(buffers)) => buffers.iter().all(admit),
                        _ => true,
                    };
                    if !admitted {
                        return gst::PadProbeReturn::Drop;
                    }
                    let last = match &probe.data {
                        Some(gst::PadProbeData::Buffer(buffer)) => Some(buffer.as_ref()),
                        Some(gst::PadProbeData::BufferList(buffers)) => buffers.iter().last(),
                        _ => None,
                    };
                    let map = last.and_then(|buffer| buffer.map_readable().ok());
                    arrivals.note(map.is_some_and(|datagram| Records::is_alert(&datagram)));
                    gst::PadProbeReturn::Ok
                });
            }
            _ => {}
        }
    });
    Ok(())
}

/// The value of an enum property; `None` when it is not there or not of that type.
fn read<T: for<'a> glib::value::FromValue<'a>>(of: &impl IsA<glib::Object>, name: &str) -> Option<T> {
    of.find_property(name)?;
    of.property_value(name).get::<T>().ok()
}

fn watch_ice(webrtcbin: &gst::Element, report: &Arc<watch::Sender<Progress>>, found: mpsc::Sender<String>) {
    webrtcbin.connect("on-ice-candidate", false, move |values| {
        if let Some(Ok(candidate)) = values.get(2).map(|value| value.get::<String>()) {
            let _ = found.try_send(candidate);
        }
        None
    });
    let weak = Arc::downgrade(report);
    webrtcbin.connect_notify(Some("ice-gathering-state"), move |webrtcbin, _| {
        let (Some(report), Some(state)) =
            (weak.upgrade(), read::<WebRTCICEGatheringState>(webrtcbin, "ice-gathering-state"))
        else {
            return;
        };
        if state == WebRTCICEGatheringState::Complete {
            report.send_modify(|progress| progress.gathered = true);
        }
    });
    let weak = Arc::downgrade(report);
    webrtcbin.connect_notify(Some("ice-connection-state"), move |webrtcbin, _| {
        let (Some(report), Some(state)) = (weak.upgrade(), read(webrtcbin, "ice-connection-state")) else { return };
        let ice = match state {
            WebRTCICEConnectionState::Connected | WebRTCICEConnectionState::Completed => Ice::Connected,
            WebRTCICEConnectionState::Failed => Ice::Failed,
            _ => Ice::Pending,
        };
        report.send_modify(|progress| progress.ice = ice);
    });
}

fn dtls_of(state: WebRTCDTLSTransportState) -> Dtls {
    match state {
        WebRTCDTLSTransportState::Connected => Dtls::Connected,
        WebRTCDTLSTransportState::Closed => Dtls::Closed,
        WebRTCDTLSTransportState::Failed => Dtls::Failed,
        _ => Dtls::Pending,
    }
}

/// Reads the bus where messages are posted: nobody else would take them off it.
fn watch_bus(pipeline: &gst::Pipeline, report: &Arc<watch::Sender<Progress>>) {
    let Some(bus) = pipeline.bus() else { return };
    let weak = Arc::downgrade(report);
    bus.set_sync_handler(move |_, message| {
        let Some(report) = weak.upgrade() else { return gst::BusSyncReply::Drop };
        match message.view() {
            gst::MessageView::Latency(_) => {
                report.send_modify(|progress| progress.latency_changes = progress.latency_changes.wrapping_add(1));
            }
            gst::MessageView::Error(error) if !of_received_payload(message) => {
                let text = error.error().to_string();
                report.send_if_modified(|progress| {
                    let first = progress.fault.is_none();
                    progress.fault.get_or_insert(text);
                    first
                });
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

/// Whether `message` is of an element that reads what the other side sends: a payload type that was never agreed upon is an error there,
/// which ends that stream and not the call.
fn of_received_payload(message: &gst::Message) -> bool {
    let Some(element) = message.src().and_then(|source| source.downcast_ref::<gst::Element>()) else { return false };
    element.factory().is_some_and(|factory| matches!(factory.name().as_str(), "rtpptdemux" | "rtpjitterbuffer"))
}
