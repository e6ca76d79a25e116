//! The caller page as a phone: a browser that has it open, with a person's key, and waits for calls.
#![allow(dead_code)] // Each test binary uses a part of it.

use nostr::{Keys, PublicKey, ToBech32 as _};
use serde_json::{Value, json};

use super::browser::Browser;

/// Lets a test look at the sound that the page makes.
const BELL: &str = "
    window.contexts = [];
    window.AudioContext = class extends AudioContext {
        constructor(...all) { super(...all); window.contexts.push(this); }
    };
    // Whether a chime is heard within some seconds.
    window.chimes = async () => {
        const context = contexts[0], analyser = new AnalyserNode(context, { fftSize: 4096, smoothingTimeConstant: 0 });
        for (const bell of bells) bell.connect(analyser);
        const bins = new Float32Array(analyser.frequencyBinCount), at = Math.round(880 / (context.sampleRate / 2) * bins.length);
        for (const until = performance.now() + 20000; performance.now() < until;) {
            analyser.getFloatFrequencyData(bins);
            if (Math.max(...bins.slice(at - 2, at + 3)) > -50) return true;
            await new Promise((resolve) => setTimeout(resolve, 20));
        }
        return false;
    };
    // What goes to the loudspeaker.
    window.bells = [];
    const connect = AudioNode.prototype.connect, disconnect = AudioNode.prototype.disconnect;
    AudioNode.prototype.connect = function (to, ...all) {
        if (to instanceof AudioDestinationNode) bells.push(this);
        return connect.call(this, to, ...all);
    };
    AudioNode.prototype.disconnect = function (...all) {
        window.bells = bells.filter((bell) => bell !== this);
        return disconnect.apply(this, all);
    };";

/// A browser with the page, waiting for calls, and the person's key.
pub struct Phone {
    pub page: Browser,
    pub key: PublicKey,
}

impl Phone {
    /// A phone that knows a line: `fragment` is what the page would call it by.
    pub async fn waiting(fragment: &str) -> Phone {
        Phone::with_key(fragment, &Keys::generate()).await
    }

    pub async fn with_key(fragment: &str, keys: &Keys) -> Phone {
        let page = Browser::start().await;
        page.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": BELL })).await;
        let nsec = keys.secret_key().to_bech32().unwrap();
        page.open(&format!("{}{fragment}&key={nsec}", page_url())).await;
        page.click("#wait").await;
        page.wait_for_js(
            "callgate.waiting && document.querySelector('#wait-note').textContent.startsWith('Waiting at')",
        )
        .await;
        Phone { page, key: keys.public_key() }
    }

    pub async fn rings(&self) -> Value {
        self.page.wait_for_js("callgate.state === 'ringing' && callgate.ring").await
    }

    pub async fn rings_no_more(&self) -> String {
        self.page
            .wait_for_js("callgate.state === 'idle' && !callgate.ring && callgate.notice")
            .await
            .as_str()
            .unwrap()
            .to_owned()
    }
}

pub fn page_url() -> &'static str {
    concat!("file://", env!("CARGO_MANIFEST_DIR"), "/web/dist/caller.html")
}
