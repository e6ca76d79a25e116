//! The second's beat in a test picture and its tone, so that what was received, recorded or played can be measured: is the sound where its
//! picture is?
//!
//! In the first tenth of each second the tone is four times as loud. A square of [`SQUARE`] pixels at the top left of the picture becomes brighter
//! with each second: its luma is 16 at the second's beginning and 235 at its end. The seconds are those of the buffers' times.

use gst::prelude::*;
use gst_video::prelude::*;

/// Pixels, each way.
pub const SQUARE: usize = 64;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// How long the tone is loud.
const LOUD: u64 = SECOND / 10;

/// Has the I420 pictures and the tones (S16LE, one channel, 48 kHz) that leave these elements carry the beat.
pub(super) fn add(picture: Option<gst::Element>, tone: Option<gst::Element>) {
    if let Some(pad) = picture.and_then(|element| element.static_pad("src")) {
        pad.add_probe(gst::PadProbeType::BUFFER, |pad, info| {
            if let (Some(buffer), Some(caps)) = (info.buffer_mut(), pad.current_caps()) {
                draw(buffer.make_mut(), &caps);
            }
            gst::PadProbeReturn::Ok
        });
    }
    if let Some(pad) = tone.and_then(|element| element.static_pad("src")) {
        pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
            if let Some(buffer) = info.buffer_mut() {
                sound(buffer.make_mut());
            }
            gst::PadProbeReturn::Ok
        });
    }
}

fn draw(buffer: &mut gst::BufferRef, caps: &gst::Caps) {
    let (Some(pts), Ok(info)) = (buffer.pts(), gst_video::VideoInfo::from_caps(caps)) else { return };
    let Ok(mut frame) = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, &info) else { return };
    let luma = 16 + (pts.nseconds() % SECOND * 219 / SECOND) as u8;
    for (plane, size, value) in [(0, SQUARE, luma), (1, SQUARE / 2, 128), (2, SQUARE / 2, 128)] {
        let Some(&stride) = frame.plane_stride().get(plane as usize) else { return };
        let Ok(data) = frame.plane_data_mut(plane) else { return };
        for row in data.chunks_mut(stride.unsigned_abs().max(1) as usize).take(size) {
            row.iter_mut().take(size).for_each(|pixel| *pixel = value);
        }
    }
}

fn sound(buffer: &mut gst::BufferRef) {
    let Some(pts) = buffer.pts() else { return };
    let Ok(mut samples) = buffer.map_writable() else { return };
    for (nth, sample) in (0..).zip(samples.as_chunks_mut::<2>().0) {
        if (pts.nseconds() + nth * SECOND / 48_000) % SECOND >= LOUD {
            *sample = (i16::from_le_bytes(*sample) / 4).to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tone_is_loud_in_the_first_tenth_of_a_second_and_the_square_tells_the_time() {
        gst::init().unwrap();
        let mut tone = gst::Buffer::from_mut_slice(1000_i16.to_le_bytes().repeat(9600));
        tone.get_mut().unwrap().set_pts(gst::ClockTime::from_seconds(7));
        sound(tone.get_mut().unwrap());
        let map = tone.map_readable().unwrap();
        let at = |sample: usize| i16::from_le_bytes([map[2 * sample], map[2 * sample + 1]]);
        assert_eq!([at(0), at(4799), at(4800), at(9599)], [1000, 1000, 250, 250]);

        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 320, 180).build().unwrap();
        let mut picture = gst::Buffer::from_mut_slice(vec![100_u8; info.size()]);
        picture.get_mut().unwrap().set_pts(gst::ClockTime::from_mseconds(7500));
        draw(picture.get_mut().unwrap(), &info.to_caps().unwrap());
        let map = picture.map_readable().unwrap();
        assert_eq!([map[0], map[63], map[64], map[64 * 320]], [125, 125, 100, 100]);
    }
}
