//! What went wrong with a source, read from error domains and codes and from RTSP's status codes; never from texts.

use super::pipeline::Failure;
use crate::media::SourceError;

/// Unsupported Transport, RFC 2326, section 11.3.14.
const UNSUPPORTED_TRANSPORT: u32 = 461;

/// Why a source failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) error: SourceError,
    /// The server wants no media within the RTSP connection: UDP may do.
    pub(super) transport_refused: bool,
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Trouble {
        Trouble { error, transport_refused: false }
    }
}

impl Trouble {
    pub(super) fn of(failure: Failure) -> Trouble {
        match failure {
            Failure::End => SourceError::Closed.into(),
            Failure::Error(error, details) => {
                let status = details.and_then(|details| details.get::<u32>("rtsp-status-code").ok());
                // rtspsrc says CodecNotFound, without the status, when the server refused the transport of every stream.
                let no_stream = status.is_none() && error.matches(gst::StreamError::CodecNotFound);
                let transport_refused = no_stream || status == Some(UNSUPPORTED_TRANSPORT);
                Trouble { error: classify(&error, status), transport_refused }
            }
        }
    }
}

fn classify(error: &glib::Error, status: Option<u32>) -> SourceError {
    match status {
        Some(401 | 403 | 407) => return SourceError::Unauthorized,
        Some(404 | 410) => return SourceError::NotFound,
        Some(415 | UNSUPPORTED_TRANSPORT) => return SourceError::Unsupported("transport".into()),
        Some(status) => return SourceError::GStreamer(format!("RTSP status {status}")),
        None => {}
    }
    if let Some(resource) = error.kind::<gst::ResourceError>() {
        match resource {
            gst::ResourceError::NotAuthorized => return SourceError::Unauthorized,
            gst::ResourceError::NotFound => return SourceError::NotFound,
            gst::ResourceError::OpenRead | gst::ResourceError::OpenWrite | gst::ResourceError::OpenReadWrite => {
                return SourceError::Unreachable;
            }
            gst::ResourceError::Read | gst::ResourceError::Write | gst::ResourceError::Close => {
                return SourceError::Closed;
            }
            _ => {}
        }
    }
    match error.kind::<gst::StreamError>() {
        Some(
            gst::StreamError::CodecNotFound
            | gst::StreamError::WrongType
            | gst::StreamError::Decode
            | gst::StreamError::Format,
        ) => SourceError::Unsupported("stream".into()),
        // The address that the pipeline has holds no password, so its messages hold none.
        _ => SourceError::GStreamer(error.message().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: glib::Error, status: Option<u32>) -> Trouble {
        let details = status.map(|status| {
            gst::init().unwrap();
            gst::Structure::builder("details").field("rtsp-status-code", status).build()
        });
        Trouble::of(Failure::Error(error, details))
    }

    #[test]
    fn errors_are_told_apart_by_code_whatever_their_text() {
        let read = || glib::Error::new(gst::ResourceError::Read, "Unauthorized, not found");
        assert_eq!(of(read(), None).error, SourceError::Closed);
        assert_eq!(of(read(), Some(401)).error, SourceError::Unauthorized);
        assert_eq!(of(read(), Some(404)).error, SourceError::NotFound);
        assert!(of(read(), Some(461)).transport_refused);
        assert_eq!(of(glib::Error::new(gst::ResourceError::NotAuthorized, ""), None).error, SourceError::Unauthorized);
        assert_eq!(of(glib::Error::new(gst::ResourceError::OpenReadWrite, ""), None).error, SourceError::Unreachable);
        assert_eq!(Trouble::of(Failure::End).error, SourceError::Closed);
    }
}
