//! Elements in a row, as one.

use gst::prelude::*;

use crate::media::SourceError;

/// A bin of these elements, of which the first is called `first` and the last `last`: what is between may link later, as behind
/// `decodebin`, so that which pads are left over says nothing.
///
/// # Errors
/// [`SourceError::GStreamer`] when an element is missing.
pub(super) fn chain(text: &str) -> Result<gst::Bin, SourceError> {
    let bin = gst::parse::bin_from_description(text, false); // invariant: all texts are this module's own
    let bin = bin.map_err(|error| SourceError::GStreamer(error.message().into()))?;
    for (element, pad) in [("first", "sink"), ("last", "src")] {
        let target = bin.by_name(element).and_then(|element| element.static_pad(pad));
        let ghost = target.and_then(|target| gst::GhostPad::with_target(&target).ok());
        let added = ghost.is_some_and(|ghost| bin.add_pad(&ghost).is_ok());
        if !added {
            return Err(SourceError::GStreamer(format!("no element {element}")));
        }
    }
    Ok(bin)
}
