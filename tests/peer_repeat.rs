//! Calls one after another, in a process of their own, so that threads and file descriptors can be counted.
#![cfg(feature = "daemon")]

#[path = "support/calls.rs"]
#[allow(dead_code)]
mod support;

use callgate::media::caller::CallerEvent;
use callgate::media::{CallId, Command, Event};
use support::*;

/// A call that is hung up at one of six moments.
async fn call(gateway: &mut Gateway, call: CallId) {
    let mut caller = Caller::start(watcher()).await;
    let moment = call.0 % 6;
    if moment == 0 {
        // While the answer is being made.
        gateway.open(call, &caller.offer).await;
        assert!(!gateway.close(call).await.leaked);
        caller.end().await;
        return;
    }
    let answer = gateway.answer(call, &caller.offer).await;
    if moment > 1 {
        caller.take(&answer).await;
    }
    if moment > 2 {
        gateway.secured(call).await;
    }
    if moment > 3 {
        caller.is(CallerEvent::FirstFrame).await;
    }
    // Either side may be the one to hang up.
    if moment == 4 {
        caller.end().await;
        assert!(!gateway.close(call).await.leaked);
    } else {
        assert!(!gateway.close(call).await.leaked);
        caller.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_hung_up_at_any_moment_leave_no_thread_and_no_file_descriptor() {
    let mut gateway = Gateway::start();
    // A lease of its own keeps the source open all the while.
    gateway.media.send(Command::OpenSource { call: CallId(1_000), line: line() }).await;
    gateway.wait("the source", |event| matches!(event, Event::SourceReady { .. }).then_some(())).await;
    for first in 0..6 {
        call(&mut gateway, CallId(first)).await;
    }
    let before = footprint();
    for next in 6..42 {
        call(&mut gateway, CallId(next)).await;
    }
    // Thread pools of tokio and GLib keep a few threads for a while.
    let after = soon("no more threads and descriptors than before", async {
        loop {
            let after = footprint();
            if after.0 <= before.0 + 2 && after.1 <= before.1 + 2 {
                return after;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    })
    .await;
    eprintln!("threads, file descriptors: {before:?} after 6 calls, {after:?} after 42");
    soon("the shutdown", gateway.media.shutdown()).await;
}
