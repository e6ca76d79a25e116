//! Calls one after another, in a process of their own, so that threads and file descriptors can be counted.
#![cfg(feature = "daemon")]

#[path = "support/calls.rs"]
#[allow(dead_code)]
mod support;

use callgate::media::caller::CallerEvent;
use callgate::media::{CallId, Command, Event};
use support::*;

async fn call(gateway: &mut Gateway, call: CallId) {
    let mut caller = Caller::start(watcher()).await;
    let answer = gateway.answer(call, &caller.offer).await;
    caller.take(&answer).await;
    caller.is(CallerEvent::FirstFrame).await;
    // Either side may be the one to hang up.
    if call.0.is_multiple_of(2) {
        caller.end().await;
        assert!(!gateway.close(call).await.leaked);
    } else {
        assert!(!gateway.close(call).await.leaked);
        caller.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_calls_leave_no_thread_and_no_file_descriptor() {
    let mut gateway = Gateway::start();
    // A lease of its own keeps the source open all the while.
    gateway.media.send(Command::OpenSource { call: CallId(1_000), line: line() }).await;
    gateway.wait("the source", |event| matches!(event, Event::SourceReady { .. }).then_some(())).await;
    for first in 0..5 {
        call(&mut gateway, CallId(first)).await;
    }
    let before = footprint();
    for next in 5..35 {
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
    eprintln!("threads, file descriptors: {before:?} after 5 calls, {after:?} after 35");
    soon("the shutdown", gateway.media.shutdown()).await;
}
