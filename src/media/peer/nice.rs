//! The one function of libnice that nothing else offers: the restart of a stream. `webrtcbin` 1.22 keeps its first credentials for ever.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::sync::OnceLock;

use gst::glib;
use gst::prelude::*;
use gst_webrtc::prelude::*;
use gst_webrtc::{WebRTCICE, WebRTCICEStream};

use super::connection::{Connection, fault};
use crate::media::PeerError;
use crate::sdp::IceCredentials;

/// libnice 0.1, by the name that GStreamer's plugin has loaded it under.
const LIBRARY: &CStr = c"libnice.so.10";

/// `gboolean nice_agent_restart_stream (NiceAgent *agent, guint stream_id)`
type RestartStream = unsafe extern "C" fn(*mut c_void, c_uint) -> c_int;

/// The function, if the process has libnice.
fn restart_function() -> Option<RestartStream> {
    static FOUND: OnceLock<Option<RestartStream>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: both take C strings that live for ever. NOLOAD gives a handle of what is loaded already and runs no code; the handle is kept for
        // ever, and with it the library. The symbol has had this type in every libnice since 0.1.5, whose ABI number is in LIBRARY.
        unsafe {
            let library = libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            if library.is_null() {
                return None;
            }
            let function = libc::dlsym(library, c"nice_agent_restart_stream".as_ptr());
            (!function.is_null()).then(|| std::mem::transmute::<*mut c_void, RestartStream>(function))
        }
    })
}

/// Forgets the credentials, remote candidates and checks of a stream of `agent`. Its sockets, and the path that is in use, stay. False when this
/// cannot be done: there is no such agent, function or stream.
pub(super) fn restart_stream(agent: &glib::Object, stream: u32) -> bool {
    let Some(function) = restart_function().filter(|_| agent.type_().name() == "NiceAgent") else { return false };
    // SAFETY: `agent` is a NiceAgent, which `agent` keeps alive for the call; the function takes the agent's lock itself and may be called on any
    // thread.
    unsafe { function(agent.as_ptr().cast(), stream) != 0 }
}

impl Connection {
    /// Restarts ICE (RFC 8445, section 9): new checks with new credentials, from the addresses that we have. DTLS and media go on, on the old path
    /// until there is a new one. The other side's candidates have to be given again.
    ///
    /// # Errors
    /// [`PeerError::GStreamer`] when this GStreamer has no such thing.
    pub(super) fn restart(&self, own: &IceCredentials, remote: &IceCredentials) -> Result<(), PeerError> {
        let missing = || fault("ICE cannot be restarted here");
        let ice = self.webrtcbin.property::<Option<WebRTCICE>>("ice-agent").ok_or_else(missing)?;
        let agent = ice.find_property("agent").and_then(|_| ice.property::<Option<glib::Object>>("agent"));
        let transport = self.transport().and_then(|transport| transport.transport()).ok_or_else(missing)?;
        let stream = transport.find_property("stream").ok_or_else(missing)?;
        let stream = transport.property_value(stream.name()).get::<Option<WebRTCICEStream>>();
        let (Some(agent), Ok(Some(stream))) = (agent, stream) else { return Err(missing()) };
        if !restart_stream(&agent, stream.stream_id()) {
            return Err(missing());
        }
        let set = ice.set_local_credentials(&stream, &own.ufrag, &own.pwd)
            && ice.set_remote_credentials(&stream, &remote.ufrag, &remote.pwd);
        if set { Ok(()) } else { Err(fault("libnice takes no credentials")) }
    }
}
