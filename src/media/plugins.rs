//! The start of GStreamer, and the check that what callgate needs of it is installed.

/// What callgate cannot do without: element, and the Debian package that has it.
const REQUIRED: &[(&str, &str)] = &[
    ("identity", "libgstreamer1.0-0"),
    ("capsfilter", "libgstreamer1.0-0"),
    ("appsrc", "gstreamer1.0-plugins-base"),
    ("appsink", "gstreamer1.0-plugins-base"),
    ("audioconvert", "gstreamer1.0-plugins-base"),
    ("audioresample", "gstreamer1.0-plugins-base"),
    ("opusenc", "gstreamer1.0-plugins-base"),
    ("opusdec", "gstreamer1.0-plugins-base"),
    ("rtspsrc", "gstreamer1.0-plugins-good"),
    ("rtpbin", "gstreamer1.0-plugins-good"),
    ("rtph264depay", "gstreamer1.0-plugins-good"),
    ("rtpvp8depay", "gstreamer1.0-plugins-good"),
    ("rtpvp9depay", "gstreamer1.0-plugins-good"),
    ("rtppcmudepay", "gstreamer1.0-plugins-good"),
    ("rtppcmadepay", "gstreamer1.0-plugins-good"),
    ("rtpopusdepay", "gstreamer1.0-plugins-good"),
    ("mulawdec", "gstreamer1.0-plugins-good"),
    ("alawdec", "gstreamer1.0-plugins-good"),
    ("webrtcbin", "gstreamer1.0-plugins-bad"),
    ("dtlssrtpenc", "gstreamer1.0-plugins-bad"),
    ("dtlssrtpdec", "gstreamer1.0-plugins-bad"),
    ("srtpenc", "gstreamer1.0-plugins-bad"),
    ("srtpdec", "gstreamer1.0-plugins-bad"),
    ("nicesrc", "gstreamer1.0-nice"),
    ("nicesink", "gstreamer1.0-nice"),
];

/// What only some lines and commands need: any one of these elements, its package, and what is lost without.
const OPTIONAL: &[(&[&str], &str, &str)] = &[
    (&["x264enc", "openh264enc"], "gstreamer1.0-plugins-ugly", "test:// and the demo have no picture"),
    (&["h264parse"], "gstreamer1.0-plugins-bad", "test:// and the demo have no picture"),
    (&["videotestsrc"], "gstreamer1.0-plugins-base", "test:// and the demo have no picture"),
    (&["timeoverlay"], "gstreamer1.0-x", "test:// and the demo have no picture"),
    (&["clockoverlay"], "gstreamer1.0-x", "the demo has no picture"),
    (&["audiotestsrc"], "gstreamer1.0-plugins-base", "test:// and the demo have no tone"),
    (&["mulawenc"], "gstreamer1.0-plugins-good", "the demo has no tone"),
    (&["avdec_aac"], "gstreamer1.0-libav", "cameras with AAC audio have no sound"),
    (&["avdec_h264", "openh264dec"], "gstreamer1.0-libav", "H.264 has no poster and no snapshot"),
    (&["vp8dec"], "gstreamer1.0-plugins-good", "VP8 has no poster and no snapshot"),
    (&["vp9dec"], "gstreamer1.0-plugins-good", "VP9 has no poster and no snapshot"),
    (&["jpegenc"], "gstreamer1.0-plugins-good", "recordings have no poster, lines no snapshot"),
    (&["avdec_g722"], "gstreamer1.0-libav", "cameras with G.722 audio have no sound"),
    (
        &["x264enc", "openh264enc"],
        "gstreamer1.0-plugins-ugly",
        "no video can be made H.264 for callers who take no other",
    ),
    (&["videoconvert"], "gstreamer1.0-plugins-base", "no video can be made H.264 for callers who take no other"),
    (&["videoscale"], "gstreamer1.0-plugins-base", "no video can be made H.264 for callers who take no other"),
    (&["avdec_h264"], "gstreamer1.0-libav", "H.264 with B pictures is passed on as it is"),
    (&["avdec_h265"], "gstreamer1.0-libav", "H.265 cannot be made H.264"),
    (&["h265parse"], "gstreamer1.0-plugins-bad", "H.265 cannot be made H.264"),
    (&["vp8dec"], "gstreamer1.0-plugins-good", "VP8 cannot be made H.264"),
    (&["vp9dec"], "gstreamer1.0-plugins-good", "VP9 cannot be made H.264"),
    (&["filesrc"], "libgstreamer1.0-0", "no file can be played"),
    (&["parsebin"], "gstreamer1.0-plugins-base", "no file can be played"),
    (&["decodebin"], "gstreamer1.0-plugins-base", "files whose sound is not Opus, PCMU or PCMA have none"),
    (&["qtdemux"], "gstreamer1.0-plugins-good", "no mp4 or mov file can be played"),
    (&["matroskademux"], "gstreamer1.0-plugins-good", "no mkv or webm file can be played"),
    (&["oggdemux"], "gstreamer1.0-plugins-base", "no ogg file can be played"),
    (&["wavparse"], "gstreamer1.0-plugins-good", "no wav file can be played"),
    (&["tsdemux"], "gstreamer1.0-plugins-bad", "no ts file can be played"),
    (&["vp9parse"], "gstreamer1.0-plugins-bad", "no file with VP9 can be played"),
    (&["mpegaudioparse"], "gstreamer1.0-plugins-good", "no mp3 file can be played"),
    (&["mpg123audiodec", "avdec_mp3"], "gstreamer1.0-plugins-good", "no mp3 file can be played"),
    (&["flacdec"], "gstreamer1.0-plugins-good", "no flac file can be played"),
    (&["vorbisdec"], "gstreamer1.0-plugins-base", "files with Vorbis have no sound"),
    (&["videorate"], "gstreamer1.0-plugins-base", "files with B-frames cannot be played"),
    (&["vp8enc"], "gstreamer1.0-plugins-good", "the last picture of a file with VP8 is not held"),
    (&["vp9enc"], "gstreamer1.0-plugins-good", "the last picture of a file with VP9 is not held"),
];

/// GStreamer is not as callgate needs it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    #[error("GStreamer does not start: {0}")]
    Init(String),
    #[error("GStreamer has no element {element}: install the package {package}")]
    Missing { element: &'static str, package: &'static str },
}

/// Starts GStreamer and checks its plugins; what is missing but not always needed is logged as a warning.
///
/// # Errors
/// [`PluginError`] names the first missing element and the package to install.
pub fn init() -> Result<(), PluginError> {
    gst::init().map_err(|error| PluginError::Init(error.message().into()))?;
    check(|element| gst::ElementFactory::find(element).is_some())
}

fn check(exists: impl Fn(&str) -> bool) -> Result<(), PluginError> {
    for &(elements, package, lost) in OPTIONAL {
        if !elements.iter().any(|element| exists(element)) {
            tracing::warn!(element = elements[0], package, "an optional GStreamer element is missing: {lost}");
        }
    }
    match REQUIRED.iter().find(|(element, _)| !exists(element)) {
        Some(&(element, package)) => Err(PluginError::Missing { element, package }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use gst::prelude::*;

    use super::*;

    #[test]
    fn a_missing_element_is_named_with_the_package_to_install() {
        let error = check(|element| element != "nicesrc").unwrap_err();
        assert_eq!(error.to_string(), "GStreamer has no element nicesrc: install the package gstreamer1.0-nice");
    }

    #[test]
    fn a_missing_optional_element_is_no_error() {
        assert_eq!(check(|element| !element.starts_with("avdec_")), Ok(()));
    }

    /// Each element with the package that it is said to come from.
    fn claims() -> impl Iterator<Item = (&'static str, &'static str)> {
        let optional = OPTIONAL.iter().map(|&(elements, package, _)| (elements[0], package));
        REQUIRED.iter().copied().chain(optional)
    }

    #[test]
    fn everything_is_there_where_the_tests_run() {
        assert_eq!(init(), Ok(()));
        for (element, package) in claims() {
            assert!(gst::ElementFactory::find(element).is_some(), "no {element}: install {package}");
        }
    }

    #[test]
    fn what_is_named_to_be_installed_is_installed_by_our_own_scripts_too() {
        let packages = include_str!("../../docker/packages.txt");
        let run = packages.split_once("[run]").unwrap().1.split("\n[").next().unwrap();
        for (element, package) in claims().filter(|(_, package)| package.starts_with("gstreamer1.0-")) {
            assert!(run.lines().any(|line| line == package), "{element}'s {package} is not under [run]");
        }
    }

    /// Only where there is dpkg: elsewhere packages have other names, which no test can know.
    #[test]
    fn each_element_is_in_the_package_that_is_named_for_it() {
        init().unwrap();
        for (element, package) in claims() {
            let plugin = gst::ElementFactory::find(element).and_then(|factory| factory.plugin()).unwrap();
            let file = std::fs::canonicalize(plugin.filename().unwrap()).unwrap();
            let Ok(owner) = std::process::Command::new("dpkg-query").arg("--search").arg(file).output() else { return };
            let owner = String::from_utf8(owner.stdout).unwrap();
            assert_eq!(owner.split(':').next(), Some(package), "{element}");
        }
    }
}
