//! What GLib and GStreamer complain of in this process: a broken promise between us and them is a critical warning, not a crash.

use std::collections::BTreeMap;
use std::sync::{Mutex, Once, PoisonError};

static COMPLAINTS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static ERRORS: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

/// Listens from now on, to every warning of GLib's logging and every error of GStreamer's. For the whole process.
pub fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        glib::log_set_writer_func(|level, fields| {
            let grave = matches!(level, glib::LogLevel::Error | glib::LogLevel::Critical | glib::LogLevel::Warning);
            if grave {
                let field = |name: &str| {
                    fields
                        .iter()
                        .find(|field| field.key() == name)
                        .and_then(|field| field.value_str())
                        .unwrap_or_default()
                };
                let complaint = format!("{}-{level:?}: {}", field("GLIB_DOMAIN"), field("MESSAGE"));
                eprintln!("{complaint}");
                COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner).push(complaint);
            }
            glib::LogWriterOutput::Handled
        });
        gst::init().unwrap();
        gst::log::remove_default_log_function();
        gst::log::set_default_threshold(gst::DebugLevel::Error);
        gst::log::add_log_function(|category, level, _, function, _, _, message| {
            if level == gst::DebugLevel::Error {
                let text = message.get().map(|text| text.to_string()).unwrap_or_default();
                let mut errors = ERRORS.lock().unwrap_or_else(PoisonError::into_inner);
                *errors.entry(format!("{} {function}: {text:.60}", category.name())).or_default() += 1;
            }
        });
    });
}

/// Fails the test if there was a complaint since [`listen`].
pub fn assert_none() {
    let complaints = COMPLAINTS.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(complaints.is_empty(), "{} complaints, the first: {}", complaints.len(), complaints[0]);
}

/// Errors of GStreamer's own log: many are what a stranger's nonsense deserves, so they are only shown.
pub fn show_errors() {
    for (error, count) in &*ERRORS.lock().unwrap_or_else(PoisonError::into_inner) {
        eprintln!("{count} times {error}");
    }
}
