//! The address under a call changes, as when a telephone goes from the Wi-Fi at home to the street: the picture comes back in the same call.
//!
//! The gateway and a relay are where everybody reaches them; the caller is behind a router, in a network namespace of its own.
#![cfg(feature = "daemon")]

#[allow(dead_code)]
mod support {
    pub mod afar;
    pub mod browser;
    pub mod daemon;
    pub mod http;
    pub mod netns;
}

use support::afar::Gateway;
use support::browser::Browser;
use support::daemon::field;
use support::netns::{Behind, Nat, Net};

/// Runs what awaits, on a thread in the host's namespace: what it starts is there too.
fn inside<T: Send + 'static, F: Future<Output = T>>(
    host: Behind,
    what: impl FnOnce(Behind) -> F + Send + 'static,
) -> T {
    host.host.clone().enter(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(what(host))
    })
}

/// Calls, changes the address under the call, and says for how many milliseconds there was no picture.
async fn outage(browser: &Browser, away: &mut Behind) -> u32 {
    browser.click("#call").await;
    browser.wait_for_js("callgate.state === 'live' && callgate.stats?.fps > 5").await;
    browser.watch().await;
    browser.wait_for_js("rendered.length > 10").await;
    let session = browser.js("callgate.session").await;

    away.change_address();

    browser.wait_for_js("callgate.state === 'ended' || callgate.restarts > 0").await;
    let before = browser.js("rendered.length").await.as_u64().expect("a number");
    let back = format!("rendered.length > {before} + 20 && callgate.notice === undefined");
    browser.wait_for_js(&format!("callgate.state === 'ended' || ({back})")).await;
    assert_eq!(browser.js("callgate.state").await, "live");
    assert_eq!(browser.js("callgate.session").await, session);
    let rendered = browser.rendered().await;
    rendered.windows(2).map(|pair| pair[1].now.wrapping_sub(pair[0].now)).max().expect("pictures")
}

#[test]
fn the_picture_in_a_browser_comes_back_when_its_address_changes() {
    // Given a browser behind a router
    let net = Net::new();
    let relay = net.relay();
    let gateway = Gateway::run(&net.core(), relay.url(), "");
    let page = format!(
        "file://{}/web/dist/caller.html#npub={}&relay={}&name=door",
        env!("CARGO_MANIFEST_DIR"),
        gateway.npub,
        gateway.relay
    );

    // When its address changes in a call, then it restarts, and pictures come again, in the same session
    let session = inside(net.behind(Nat::Masquerade), async move |mut away| {
        let browser = Browser::start().await;
        browser.open(&page).await;
        let without = outage(&browser, &mut away).await;
        println!("the browser was without a picture for {without} ms");
        let session = browser.js("callgate.session").await;
        browser.click("#hangup").await;
        browser.wait_for_js("callgate.state === 'ended'").await;
        session
    });

    // And all of it was one call, which its caller ended
    let ended = gateway.daemon.logged(|record| field(record, "message") == "call ended");
    assert_eq!((Some(field(&ended, "session")), field(&ended, "reason")), (session.as_str(), "caller_left"));
    assert_eq!(gateway.log().len(), 1);
}
