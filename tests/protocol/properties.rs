//! What holds for every event and every payload.

use callgate::protocol::*;
use nostr::{Event, Kind, SECP256K1, Tag, Timestamp, UnsignedEvent};
use proptest::prelude::*;

use crate::keys::{FixedBytes, caller, line, stranger};

fn event(kind: u16, tags: Vec<Vec<String>>, content: String) -> Event {
    let tags = tags.into_iter().filter_map(|tag| Tag::parse(tag).ok());
    let keys = caller();
    UnsignedEvent::new(keys.public_key(), Timestamp::from_secs(1_700_000_000), Kind::Custom(kind), tags, content)
        .sign_with_ctx(SECP256K1, &mut FixedBytes::new("properties"), &keys)
        .unwrap()
}

/// Values that a tag of the protocol may have, and others.
fn tag_values() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(line().public_key().to_hex()),
        Just("video".to_owned()),
        Just("NIP-44".to_owned()),
        Just("NIP-04".to_owned()),
        Just("wss://relay.example".to_owned()),
        Just("stun:a,turn:b,,".to_owned()),
        any::<u64>().prop_map(|number| number.to_string()),
        ".{0,40}",
        "[,:a-z]{0,2000}",
    ]
}

fn tags() -> impl Strategy<Value = Vec<Vec<String>>> {
    let name = prop_oneof![
        8 => prop::sample::select(vec!["p", "session_id", "type", "sig_alg", "relay", "rtc_servers", "expiration"])
            .prop_map(str::to_owned),
        1 => ".{0,10}",
    ];
    let tag = (name, prop::collection::vec(tag_values(), 0..3)).prop_map(|(name, mut values)| {
        values.insert(0, name);
        values
    });
    prop::collection::vec(tag, 0..12)
}

/// An object with the protocol's fields, of right and wrong types, and others.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        1 => Just(serde_json::Value::Null),
        2 => any::<bool>().prop_map(Into::into),
        3 => any::<u32>().prop_map(Into::into),
        1 => any::<u64>().prop_map(Into::into),
        1 => any::<f64>().prop_map(Into::into),
        1 => any::<u32>().prop_map(|number| number.to_string().into()),
        4 => ".{0,30}".prop_map(Into::into),
        1 => ".{0,500}".prop_map(Into::into),
    ];
    let name = prop_oneof![
        9 => prop::sample::select(vec![
            "sdp", "timestamp", "expires_in", "rtc_servers", "urls", "username", "credential", "accepted",
            "candidate", "sdpMid", "sdpMLineIndex", "reason", "detail", "name", "device", "except", "cause",
        ])
        .prop_map(str::to_owned),
        1 => ".{0,10}",
    ];
    let object = |value: BoxedStrategy<serde_json::Value>, fields: usize| {
        prop::collection::vec((name.clone(), value), 0..fields)
            .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect()))
    };
    let inner = prop_oneof![
        6 => leaf.clone(),
        1 => object(leaf.clone().boxed(), 4),
        1 => prop::collection::vec(prop_oneof![leaf.clone(), object(leaf.boxed(), 4)], 0..4).prop_map(Into::into),
    ];
    object(inner.boxed(), 16)
}

fn texts(max: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..=max / 4).prop_map(|chars| chars.into_iter().collect())
}

fn rtc_servers() -> impl Strategy<Value = RtcServer> {
    let urls = prop::collection::vec(texts(MAX_URL_BYTES / 16), 1..4);
    (urls, prop::option::of(texts(200)), prop::option::of(texts(200)))
        .prop_map(|(urls, username, credential)| RtcServer { urls, username, credential })
}

fn bodies() -> impl Strategy<Value = Body> {
    let sdp = || texts(4000).prop_map(|text| format!("v=0\r\n{text}"));
    let name = prop::option::of(texts(500)).prop_map(|name| name.and_then(|name| Offer::fit_name(&name)));
    let device = || prop::option::of("[!-~]{1,64}".prop_map(|token| token.parse().unwrap()));
    let offer = (sdp(), any::<u64>(), any::<u64>(), prop::collection::vec(rtc_servers(), 0..4), name).prop_map(
        |(sdp, timestamp, expires_in, rtc_servers, name)| {
            Body::Offer(Offer { sdp, timestamp, expires_in, rtc_servers, name })
        },
    );
    let answer = (sdp(), any::<bool>(), any::<u64>(), device()).prop_map(|(sdp, accepted, timestamp, device)| {
        let sdp = if accepted { sdp } else { String::new() };
        Body::Answer(Answer { sdp, accepted, timestamp, device })
    });
    let candidate =
        (texts(MAX_CANDIDATE_BYTES), prop::option::of(texts(MAX_MID_BYTES)), any::<Option<u32>>(), any::<u64>())
            .prop_map(|(candidate, sdp_mid, sdp_mline_index, timestamp)| {
                Body::Candidate(IceCandidate { candidate, sdp_mid, sdp_mline_index, timestamp })
            });
    let word = prop::sample::select(vec![EndWord::UserLeft, EndWord::Rejected, EndWord::Timeout]);
    let cause = prop::option::of(prop::sample::select(vec![EndCause::Busy, EndCause::Declined, EndCause::Elsewhere]));
    let end = (word, prop::option::of(texts(2000)), any::<u64>(), device(), cause).prop_map(
        |(reason, detail, timestamp, except, cause)| {
            let detail = detail.map(|text| CallEnd::fit_detail(&text));
            Body::End(CallEnd { reason, detail, timestamp, except, cause })
        },
    );
    prop_oneof![offer, answer, candidate, end]
}

fn outgoing() -> impl Strategy<Value = Outgoing> {
    let call_type = prop::sample::select(vec![CallType::Audio, CallType::Video, CallType::Screen]);
    let cipher = prop::sample::select(vec![Cipher::Nip44, Cipher::Nip04]);
    let dialect = prop::sample::select(vec![Dialect::Plain, Dialect::Wrapped]);
    (dialect, "[!-~]{1,128}", call_type, cipher, bodies(), any::<u64>()).prop_map(
        |(dialect, session, call_type, cipher, body, expiration)| Outgoing {
            dialect,
            from: caller().public_key(),
            to: line().public_key(),
            session: session.parse().unwrap(),
            call_type,
            cipher,
            body,
            expiration,
            relays: Vec::new(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_sealed_opens_as_it_was(out in outgoing(), created_at in any::<u64>(), seed in any::<u64>()) {
        let event = seal(&out, &caller(), created_at, &mut FixedBytes::new(&seed.to_string())).unwrap();
        prop_assert!(event.verify().is_ok());

        let (envelope, event) = match out.dialect {
            Dialect::Plain => (Envelope::read(&event).unwrap(), event),
            Dialect::Wrapped => {
                let wrap = Wrap::read(&event).unwrap();
                prop_assert_eq!(&wrap, &Wrap { to: out.to, expiration: Some(out.expiration) });
                prop_assert_ne!(event.pubkey, out.from, "who calls is not to be seen");
                prop_assert!(wrap.open(&event, &stranger()).is_err());
                let (envelope, inside) = wrap.open(&event, &line()).unwrap();
                prop_assert!(inside.verify().is_ok());
                prop_assert_eq!(inside.created_at, event.created_at);
                (envelope, inside)
            }
        };
        prop_assert_eq!(envelope.dialect, out.dialect);
        prop_assert_eq!(envelope.event_id, event.id);
        prop_assert_eq!(envelope.kind, out.body.kind());
        prop_assert_eq!((envelope.from, envelope.to), (out.from, out.to));
        prop_assert_eq!(&envelope.session, &out.session);
        prop_assert_eq!((envelope.call_type, envelope.cipher), (out.call_type, out.cipher));
        prop_assert_eq!((envelope.created_at, envelope.expiration), (created_at, Some(out.expiration)));
        prop_assert_eq!(envelope.check_expiration(out.expiration), Ok(()));

        let back = envelope.reply(out.body.clone(), created_at);
        prop_assert_eq!((back.dialect, back.from, back.to, back.cipher), (out.dialect, out.to, out.from, out.cipher));

        // No other key opens it: NIP-44 notices by its code, NIP-04 has none and yields nothing that is a payload.
        prop_assert!(open(envelope.clone(), &event, &stranger()).is_err());
        let signal = open(envelope.clone(), &event, &line()).unwrap();
        prop_assert_eq!(signal, Signal { envelope, body: out.body });
    }

    #[test]
    fn any_tags_and_content_are_read_or_refused(
        kind in prop_oneof![8 => 14300u16..=14303, 1 => any::<u16>()],
        tags in tags(),
        content in prop_oneof![".{0,200}", "[A-Za-z0-9+/=]{0,400}", "[A-Za-z0-9+/]{0,60}=?\\?iv=[A-Za-z0-9+/]{22}=="],
        now in any::<u64>(),
    ) {
        let event = event(kind, tags, content);
        match Envelope::read(&event) {
            Ok(envelope) => {
                let _ = envelope.check_expiration(now);
                prop_assert!(open(envelope, &event, &line()).is_err(), "nobody sealed this");
            }
            Err(reject) => prop_assert!(!reject.word().is_empty() && !reject.to_string().is_empty()),
        }
    }

    #[test]
    fn any_json_is_read_or_refused(json in json(), created_at in any::<u64>(), now in any::<u64>()) {
        let json = json.to_string();
        for kind in SignalKind::ALL {
            if let Ok(body) = Body::read(kind, &json, created_at) {
                prop_assert_eq!(body.kind(), kind);
                // What was taken is written and taken again as it is.
                let written = serde_json::to_string(&body).unwrap();
                prop_assert_eq!(Body::read(kind, &written, created_at), Ok(body.clone()));
                if let Body::Offer(offer) = body {
                    let _ = freshness(&offer, created_at, now);
                }
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,300}", created_at in any::<u64>()) {
        for kind in SignalKind::ALL {
            let _ = Body::read(kind, &text, created_at);
        }
    }
}
