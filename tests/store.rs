//! The store: what it remembers across restarts, and what it says when it cannot be used.
#![cfg(feature = "daemon")]

mod support {
    pub mod call_record;
}

use callgate::call::Millis;
use callgate::protocol::SignalKind;
use callgate::signaling::Memory as _;
use callgate::store::{
    CallFilter, CallLog, CallRecord, DATABASE, Invitation, Invitations, Invited, MISSED, Store, StoreError, Which,
};
use nostr::{EventId, Keys, PublicKey, RelayUrl};
use support::call_record::record;

fn key() -> PublicKey {
    Keys::generate().public_key()
}

#[test]
fn a_handled_event_stays_handled_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let event = EventId::from_byte_array([7; 32]);
    {
        let store = Store::open(folder.path()).unwrap();
        assert!(!store.knows(&event));
        store.remember(&[(event, 1_700_000_000)]);
        assert!(store.knows(&event));
    }

    let store = Store::open(folder.path()).unwrap();

    assert!(store.knows(&event));
    assert!(!store.knows(&EventId::from_byte_array([8; 32])));
}

#[test]
fn an_outbox_clock_only_rises_and_is_kept_for_each_author_kind_and_relay() {
    let folder = tempfile::tempdir().unwrap();
    let (author, other) = (key(), key());
    let relay = RelayUrl::parse("wss://relay.example.com").unwrap();
    let elsewhere = RelayUrl::parse("wss://other.example.com").unwrap();
    {
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.clock(&author, SignalKind::Answer, &relay), None);
        store.set_clock(&author, SignalKind::Answer, &relay, 100);
        store.set_clock(&author, SignalKind::Answer, &relay, 99);
    }

    let store = Store::open(folder.path()).unwrap();

    assert_eq!(store.clock(&author, SignalKind::Answer, &relay), Some(100));
    let with_slash = RelayUrl::parse("wss://relay.example.com/").unwrap();
    assert_eq!(store.clock(&author, SignalKind::Answer, &with_slash), Some(100));
    assert_eq!(store.clock(&author, SignalKind::End, &relay), None);
    assert_eq!(store.clock(&author, SignalKind::Answer, &elsewhere), None);
    assert_eq!(store.clock(&other, SignalKind::Answer, &relay), None);
}

#[test]
fn the_call_log_tells_the_newest_first_and_can_be_narrowed() {
    let store = Store::in_memory().unwrap();
    let (alice, bob) = (key(), key());
    for (line, caller) in [("door", alice), ("yard", alice), ("door", bob)] {
        store.log_call(&record(line, caller)).unwrap();
    }
    let lines = |filter: CallFilter, limit| -> Vec<String> {
        store.calls(&filter, limit).unwrap().into_iter().map(|call| format!("{} {}", call.id, call.line)).collect()
    };

    assert_eq!(lines(CallFilter::default(), 10), ["3 door", "2 yard", "1 door"]);
    assert_eq!(lines(CallFilter::default(), 1), ["3 door"]);
    assert_eq!(lines(CallFilter { line: Some("door".into()), ..CallFilter::default() }, 10), ["3 door", "1 door"]);
    assert_eq!(lines(CallFilter { caller: Some(alice), ..CallFilter::default() }, 10), ["2 yard", "1 door"]);
    assert_eq!(lines(CallFilter { line: Some("yard".into()), caller: Some(bob), missed: false }, 10), [""; 0]);
}

#[test]
fn a_missed_call_is_logged_once_and_found_among_the_others() {
    let store = Store::in_memory().unwrap();
    let answered = record("door", key());
    let missed = CallRecord { reason: MISSED.into(), session: "other".into(), ..answered.clone() };
    store.log_call(&answered).unwrap();

    assert!(store.log_call_once(&missed).unwrap());
    assert!(!store.log_call_once(&missed).unwrap());
    assert!(
        !store.log_call_once(&CallRecord { reason: MISSED.into(), ..answered.clone() }).unwrap(),
        "it was answered"
    );
    assert!(store.log_call_once(&CallRecord { caller: key(), ..missed.clone() }).unwrap(), "another caller's session");

    let found = store.calls(&CallFilter { missed: true, ..CallFilter::default() }, 10).unwrap();
    assert_eq!(
        found.iter().map(|call| (call.id, call.reason.as_str())).collect::<Vec<_>>(),
        [(3, MISSED), (2, MISSED)]
    );
}

#[test]
fn when_the_newest_event_was_seen_is_remembered() {
    let store = Store::in_memory().unwrap();
    assert_eq!(store.newest_sight(), None);
    for (number, at) in [(1, 1_700_000_000), (2, 1_700_000_100), (3, 1_700_000_050)] {
        store.remember(&[(EventId::from_byte_array([number; 32]), at)]);
    }
    assert_eq!(store.newest_sight(), Some(1_700_000_100));
}

#[test]
fn the_call_log_can_be_read_while_a_daemon_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    assert!(CallLog::open(folder.path()).unwrap().is_none(), "no daemon ran here yet");
    let store = Store::open(folder.path()).unwrap();
    store.log_call(&record("door", key())).unwrap();

    let log = CallLog::open(folder.path()).unwrap().unwrap();
    let first = log.calls(&CallFilter::default(), 10).unwrap();
    store.log_call(&record("yard", key())).unwrap();
    let second = log.calls(&CallFilter::default(), 10).unwrap();

    assert_eq!((first.len(), second.len()), (1, 2));
    let call = &first[0];
    assert_eq!((call.call_type.as_str(), call.direction.as_str(), call.origin.as_str()), ("video", "in", "caller"));
    assert_eq!(
        (call.offered_ms, call.secured_ms, call.answered_ms),
        (1_709_251_199_999, Some(1_709_251_200_100), None)
    );
    assert_eq!((call.bytes_sent, call.teardown_ms, call.ignored), (2_500_000, Some(6), 1));
    assert!(call.caller.starts_with("npub1"));
}

fn invitation(line_key: PublicKey, made: Millis, until: Millis) -> Invitation {
    Invitation { line: "door".into(), line_key, key: key(), label: "Grandma".into(), made, until }
}

#[test]
fn an_invitation_is_made_and_taken_back_beside_a_running_daemon_which_notices() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Invitations::open(folder.path()).unwrap().is_none());
    let daemon = Store::open(folder.path()).unwrap();
    let beside = Invitations::open_or_make(folder.path()).unwrap();
    let before = daemon.version().unwrap();
    let made = invitation(key(), Millis(1_000), Millis(9_000));

    assert_eq!(beside.invite(&made).unwrap(), Some(1));
    let after = daemon.version().unwrap();
    assert_ne!(before, after);
    let good = Invited { line: made.line_key, key: made.key, until: made.until, revoked: false };
    assert_eq!(daemon.invited().unwrap(), [good]);

    daemon.note_invited_call(&made.line_key, &made.key, Millis(2_000)).unwrap();
    daemon.note_invited_call(&key(), &made.key, Millis(3_000)).unwrap();
    assert_eq!(daemon.version().unwrap(), after, "what the daemon writes itself is no news");
    let listed = beside.all().unwrap();
    assert_eq!((listed[0].calls, listed[0].called_ms, listed[0].label.as_str()), (1, Some(2_000), "Grandma"));

    assert_eq!(beside.revoke(Which::Number(2), Millis(4_000)).unwrap(), None);
    assert_eq!(beside.revoke(Which::Key(made.key), Millis(4_000)).unwrap().unwrap().revoked_ms, None);
    assert_eq!(beside.revoke(Which::Number(1), Millis(5_000)).unwrap().unwrap().revoked_ms, Some(4_000));
    assert_eq!(daemon.invited().unwrap(), [Invited { revoked: true, ..good }]);
}

#[test]
fn invitations_that_ended_long_ago_are_forgotten_when_another_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let invitations = Invitations::open_or_make(folder.path()).unwrap();
    let month = 30 * 24 * 3_600_000;
    invitations.invite(&invitation(key(), Millis(0), Millis(1))).unwrap();
    invitations.invite(&invitation(key(), Millis(0), Millis(month))).unwrap();
    invitations.invite(&invitation(key(), Millis(month + 2), Millis(2 * month))).unwrap();
    let numbers: Vec<u64> = invitations.all().unwrap().iter().map(|invitation| invitation.number).collect();
    assert_eq!(numbers, [3, 2]);
}

#[test]
fn two_daemons_cannot_share_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = Store::open(folder.path()).unwrap();

    let second = Store::open(folder.path());
    assert_eq!(second.unwrap_err(), StoreError::InUse(folder.path().to_owned()));

    drop(first);
    assert!(Store::open(folder.path()).is_ok());
}

#[test]
fn a_damaged_database_is_told_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(DATABASE);
    let damaged = b"this is no database, and somebody may still want it".repeat(100);
    std::fs::write(&path, &damaged).unwrap();

    assert_eq!(Store::open(folder.path()).unwrap_err(), StoreError::Damaged(path.clone()));
    assert_eq!(CallLog::open(folder.path()).unwrap_err(), StoreError::Damaged(path.clone()));
    assert_eq!(std::fs::read(&path).unwrap(), damaged);
}

#[test]
fn a_database_of_another_version_is_told_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let path = folder.path().join(DATABASE);
    let set_version = |version: i64| {
        rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", version).unwrap();
    };

    set_version(99);
    assert_eq!(Store::open(folder.path()).unwrap_err(), StoreError::Newer(path.clone()));
    assert_eq!(CallLog::open(folder.path()).unwrap_err(), StoreError::Newer(path.clone()));

    set_version(0);
    assert_eq!(CallLog::open(folder.path()).unwrap_err(), StoreError::Older(path.clone()));
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_who_calls_whom() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("deep/data");
    let store = Store::open(&data_dir).unwrap();
    store.log_call(&record("door", key())).unwrap();

    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    for file in std::fs::read_dir(&data_dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_data_dir_that_is_a_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, "").unwrap();
    assert!(matches!(Store::open(&path), Err(StoreError::Folder(at, _)) if at == path));
}
