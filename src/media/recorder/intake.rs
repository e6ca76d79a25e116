//! Makes frames of what came.

use std::collections::HashMap;
use std::sync::Arc;

use super::depay::{Depayloader, ssrc_of};
use super::format;
use super::frame::{Codec, Format, Frame, Place, Side};
use super::inlet::Piece;
use crate::media::tap::Track;

/// What is known of each track so far.
#[derive(Debug, Default)]
pub(super) struct Intake {
    formats: HashMap<Place, Arc<Format>>,
    /// The caller's streams: one of each kind at a time.
    video: Option<Stream>,
    audio: Option<Stream>,
    /// The caller's picture waits for a keyframe: its first, or one after a loss.
    pub(super) needs_keyframe: bool,
    /// Pictures of the caller's that did not come whole.
    pub(super) broken: u64,
}

/// A stream of the caller's.
#[derive(Debug)]
struct Stream {
    pad: u64,
    frames: Depayloader,
    /// When something last came.
    last: u64,
}

/// Nanoseconds after which a stream is over, and another of its kind may follow. One that goes on under another payload type follows at once.
const SILENCE: u64 = 1_000_000_000;

impl Intake {
    /// The frames of a piece, appended to `out`.
    pub(super) fn take(&mut self, piece: Piece, out: &mut Vec<Frame>) {
        let kind = piece.kind();
        match piece {
            Piece::Picture { side, codec, data, keyframe: _, pts } => {
                let Ok(data) = data.map_readable() else { return };
                out.extend(self.picture(Place { side, kind }, codec, &data, pts.nseconds()));
            }
            Piece::Sound { side, sample, pts } => {
                let (Some(caps), Some(buffer)) = (sample.caps(), sample.buffer()) else { return };
                let (Some(format), Ok(data)) = (format_of(caps), buffer.map_readable()) else { return };
                out.push(self.sound(Place { side, kind }, format, data.to_vec(), pts.nseconds()));
            }
            Piece::Packet { pad, codec, packet, .. } => {
                let (Ok(data), Some(pts)) = (packet.map_readable(), packet.pts()) else { return };
                self.packet(pad, Place { side: Side::Caller, kind }, codec, &data, pts.nseconds(), out);
            }
        }
    }

    fn packet(&mut self, pad: u64, place: Place, codec: Codec, packet: &[u8], pts: u64, out: &mut Vec<Frame>) {
        let Some(ssrc) = ssrc_of(packet) else { return };
        let video = place.kind == Track::Video;
        let slot = if video { &mut self.video } else { &mut self.audio };
        let other = |stream: &Stream| stream.pad != pad && (stream.frames.ssrc == ssrc || pts > stream.last + SILENCE);
        if slot.as_ref().is_none_or(other) {
            *slot = Some(Stream { pad, frames: Depayloader::new(codec, ssrc), last: pts });
            self.needs_keyframe |= video;
        }
        let Some(stream) = slot.as_mut().filter(|stream| stream.pad == pad) else { return };
        stream.last = pts;
        let before = stream.frames.broken;
        let done = stream.frames.take(packet, pts);
        self.broken += stream.frames.broken - before;
        self.needs_keyframe |= video && done.gap;
        for (data, pts) in done.frames {
            let frame = match codec {
                Codec::Opus => Some(self.sound(place, format::opus(2), data, pts)),
                Codec::Pcmu | Codec::Pcma => Some(self.sound(place, format::g711(codec, 8000, 1), data, pts)),
                _ => self.picture(place, codec, &data, pts),
            };
            let keyframe = frame.as_ref().is_some_and(|frame| frame.keyframe);
            self.needs_keyframe &= !(video && keyframe);
            out.extend(frame);
        }
    }

    fn picture(&mut self, place: Place, codec: Codec, data: &[u8], pts: u64) -> Option<Frame> {
        let (data, keyframe, format) = match codec {
            Codec::H264 => {
                let picture = format::h264(data)?;
                (picture.data, picture.keyframe, picture.format)
            }
            Codec::Vp8 | Codec::Vp9 => {
                let (keyframe, format) = format::vpx(codec, data)?;
                (data.to_vec(), keyframe, format)
            }
            _ => return None,
        };
        let format = match format {
            Some(format) => self.shared(place, format),
            // What there is no parameter set for cannot be decoded.
            None => self.formats.get(&place).filter(|format| format.codec == codec)?.clone(),
        };
        Some(Frame { place, format, pts, keyframe, data })
    }

    fn sound(&mut self, place: Place, format: Format, data: Vec<u8>, pts: u64) -> Frame {
        debug_assert_eq!(place.kind, Track::Audio);
        Frame { place, format: self.shared(place, format), pts, keyframe: true, data }
    }

    /// One format for all frames that have it.
    fn shared(&mut self, place: Place, format: Format) -> Arc<Format> {
        match self.formats.get(&place) {
            Some(known) if **known == format => known.clone(),
            _ => {
                let format = Arc::new(format);
                self.formats.insert(place, format.clone());
                format
            }
        }
    }
}

/// How sound of these caps is recorded; `None`: not at all.
fn format_of(caps: &gst::CapsRef) -> Option<Format> {
    let fields = caps.structure(0)?;
    let number = |name| fields.get::<i32>(name).ok().and_then(|value| u32::try_from(value).ok());
    let channels = number("channels");
    match fields.name().as_str() {
        "audio/x-opus" => Some(format::opus(channels.unwrap_or(2))),
        "audio/x-mulaw" => Some(format::g711(Codec::Pcmu, number("rate")?, channels.unwrap_or(1))),
        "audio/x-alaw" => Some(format::g711(Codec::Pcma, number("rate")?, channels.unwrap_or(1))),
        "audio/mpeg" if number("mpegversion") == Some(4) => {
            let config = fields.get::<gst::Buffer>("codec_data").ok()?;
            let config = config.map_readable().ok()?;
            format::aac(&config, number("rate").unwrap_or(48_000), channels.unwrap_or(2))
        }
        _ => None,
    }
}
