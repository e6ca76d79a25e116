//! Reading payloads tolerantly, since clients differ: numbers as number or numeric string, unknown fields passed over, and
//! strict limits on everything that is kept.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::{
    Answer, Body, CallEnd, DEFAULT_EXPIRES_IN, EndWord, IceCandidate, MAX_CANDIDATE_BYTES, MAX_CREDENTIAL_BYTES,
    MAX_MID_BYTES, MAX_RTC_SERVERS, MAX_SDP_BYTES, MAX_URL_BYTES, Offer, Reject, RtcServer, SignalKind,
};

type Fields = Map<String, Value>;

impl Body {
    /// Reads the decrypted content of an event of `kind`, stamped `created_at`.
    ///
    /// A `null` counts as absent. Only an offer must say its `timestamp`; elsewhere `created_at` stands in for it.
    ///
    /// # Errors
    /// [`Reject::Payload`] names the field, `json` when it is no JSON object; [`Reject::SdpOversized`].
    pub fn read(kind: SignalKind, json: &str, created_at: u64) -> Result<Self, Reject> {
        let Ok(Value::Object(fields)) = serde_json::from_str(json) else {
            return Err(Reject::Payload("json"));
        };
        let stamped = || Ok(number(&fields, "timestamp")?.unwrap_or(created_at));
        Ok(match kind {
            SignalKind::Offer => Self::Offer(Offer {
                sdp: sdp(&fields)?.ok_or(Reject::Payload("sdp"))?,
                timestamp: number(&fields, "timestamp")?.ok_or(Reject::Payload("timestamp"))?,
                expires_in: number(&fields, "expires_in")?.unwrap_or(DEFAULT_EXPIRES_IN),
                rtc_servers: rtc_servers(&fields)?,
                // A name that is none does not keep a call from ringing; likewise below.
                name: word(&fields, "name").and_then(Offer::fit_name),
            }),
            SignalKind::Answer => {
                let accepted =
                    field(&fields, "accepted").and_then(Value::as_bool).ok_or(Reject::Payload("accepted"))?;
                let sdp = sdp(&fields)?;
                if accepted && sdp.is_none() {
                    return Err(Reject::Payload("sdp"));
                }
                Self::Answer(Answer {
                    sdp: sdp.unwrap_or_default(),
                    accepted,
                    timestamp: stamped()?,
                    device: parsed(&fields, "device"),
                })
            }
            SignalKind::Candidate => Self::Candidate(IceCandidate {
                candidate: text(&fields, "candidate", MAX_CANDIDATE_BYTES)?.ok_or(Reject::Payload("candidate"))?,
                sdp_mid: text(&fields, "sdpMid", MAX_MID_BYTES)?,
                sdp_mline_index: number(&fields, "sdpMLineIndex")?
                    .map(u32::try_from)
                    .transpose()
                    .map_err(|_| Reject::Payload("sdpMLineIndex"))?,
                timestamp: stamped()?,
            }),
            SignalKind::End => Self::End(CallEnd {
                // A call that its other side has ended is over, whatever word or sentence came with that.
                reason: parsed(&fields, "reason").unwrap_or(EndWord::UserLeft),
                detail: word(&fields, "detail").map(CallEnd::fit_detail),
                timestamp: stamped().unwrap_or(created_at),
                except: parsed(&fields, "except"),
                cause: parsed(&fields, "cause"),
            }),
        })
    }
}

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

/// A string, when it is there and is one.
fn word<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    field(fields, name).and_then(Value::as_str)
}

/// A word of the protocol, when it is there and is one.
fn parsed<T: FromStr>(fields: &Fields, name: &str) -> Option<T> {
    word(fields, name).and_then(|word| word.parse().ok())
}

fn text(fields: &Fields, name: &'static str, max_bytes: usize) -> Result<Option<String>, Reject> {
    match field(fields, name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= max_bytes => Ok(Some(text.clone())),
        Some(_) => Err(Reject::Payload(name)),
    }
}

/// The SDP, `None` when it is absent or empty.
fn sdp(fields: &Fields) -> Result<Option<String>, Reject> {
    match field(fields, "sdp") {
        None => Ok(None),
        Some(Value::String(sdp)) if sdp.is_empty() => Ok(None),
        Some(Value::String(sdp)) if sdp.len() > MAX_SDP_BYTES => Err(Reject::SdpOversized(sdp.len())),
        Some(Value::String(sdp)) => Ok(Some(sdp.clone())),
        Some(_) => Err(Reject::Payload("sdp")),
    }
}

/// A whole number that is not negative. JavaScript's `Date.now() / 1000` has a fraction, which is cut off.
fn number(fields: &Fields, name: &'static str) -> Result<Option<u64>, Reject> {
    let Some(value) = field(fields, name) else { return Ok(None) };
    let whole_or_fraction = match value {
        Value::Number(number) => (number.as_u64(), number.as_f64()),
        Value::String(text) => (text.trim().parse().ok(), text.trim().parse().ok()),
        _ => (None, None),
    };
    match whole_or_fraction {
        (Some(whole), _) => Ok(Some(whole)),
        // From 2^53 on a double no longer tells whole numbers apart.
        (None, Some(fraction)) if (0.0..9_007_199_254_740_992.0).contains(&fraction) => Ok(Some(fraction as u64)),
        _ => Err(Reject::Payload(name)),
    }
}

fn rtc_servers(fields: &Fields) -> Result<Vec<RtcServer>, Reject> {
    const BAD: Reject = Reject::Payload("rtc_servers");
    match field(fields, "rtc_servers") {
        None => Ok(Vec::new()),
        Some(Value::Array(servers)) if servers.len() <= MAX_RTC_SERVERS => {
            servers.iter().map(|server| server.as_object().ok_or(BAD).and_then(rtc_server).map_err(|_| BAD)).collect()
        }
        Some(_) => Err(BAD),
    }
}

fn rtc_server(fields: &Fields) -> Result<RtcServer, Reject> {
    const BAD: Reject = Reject::Payload("urls");
    let urls = match field(fields, "urls") {
        Some(Value::String(_)) => vec![text(fields, "urls", MAX_URL_BYTES)?.ok_or(BAD)?],
        Some(Value::Array(urls)) if (1..=MAX_RTC_SERVERS).contains(&urls.len()) => urls
            .iter()
            .map(|url| url.as_str().filter(|url| url.len() <= MAX_URL_BYTES).map(str::to_owned).ok_or(BAD))
            .collect::<Result<_, _>>()?,
        _ => return Err(BAD),
    };
    Ok(RtcServer {
        urls,
        username: text(fields, "username", MAX_CREDENTIAL_BYTES)?,
        credential: text(fields, "credential", MAX_CREDENTIAL_BYTES)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::EndCause;
    use super::*;

    const CREATED_AT: u64 = 1_700_000_000;

    fn read(kind: SignalKind, json: &str) -> Result<Body, Reject> {
        Body::read(kind, json, CREATED_AT)
    }

    fn offer(json: &str) -> Result<Offer, Reject> {
        match read(SignalKind::Offer, json)? {
            Body::Offer(offer) => Ok(offer),
            other => panic!("read {other:?}"),
        }
    }

    #[test]
    fn numbers_are_taken_as_numbers_strings_and_with_fractions() {
        for number in ["1700000007", "\"1700000007\"", "1700000007.25", "\"1700000007.25\"", "1.700000007e9"] {
            let json = format!(r#"{{"sdp":"v=0","timestamp":{number},"expires_in":{number}}}"#);
            let offer = offer(&json).unwrap();
            assert_eq!((offer.timestamp, offer.expires_in), (1_700_000_007, 1_700_000_007), "{number}");
        }
        for number in ["-1", "\"-1\"", "\"soon\"", "\"\"", "\"NaN\"", "\"inf\"", "1e300", "true", "[]", "{}"] {
            let json = format!(r#"{{"sdp":"v=0","timestamp":{number}}}"#);
            assert_eq!(offer(&json), Err(Reject::Payload("timestamp")), "{number}");
        }
    }

    #[test]
    fn an_offer_that_does_not_say_rings_for_a_minute() {
        let offer =
            offer(r#"{"sdp":"v=0","timestamp":5,"rtc_servers":null,"expires_in":null,"mood":{"a":[1]}}"#).unwrap();
        assert_eq!(offer, Offer::new("v=0".into(), 5, 60));
    }

    #[test]
    fn urls_are_a_string_or_a_list() {
        let json = r#"{"sdp":"v=0","timestamp":5,"rtc_servers":[{"urls":"stun:a"},
            {"urls":["turn:b","turns:c"],"username":"u","credential":"p","credentialType":"password"}]}"#;
        let servers = offer(json).unwrap().rtc_servers;
        assert_eq!(servers[0], RtcServer { urls: vec!["stun:a".into()], username: None, credential: None });
        assert_eq!(servers[1].urls, ["turn:b", "turns:c"]);
        assert_eq!(servers[1].credential.as_deref(), Some("p"));
        for bad in [r#"[{}]"#, r#"[{"urls":[]}]"#, r#"[{"urls":[1]}]"#, r#"["stun:a"]"#, r#"{"urls":"stun:a"}"#] {
            let json = format!(r#"{{"sdp":"v=0","timestamp":5,"rtc_servers":{bad}}}"#);
            assert_eq!(offer(&json), Err(Reject::Payload("rtc_servers")), "{bad}");
        }
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let sdp = |bytes: usize| format!(r#"{{"sdp":"{}","timestamp":5}}"#, "v".repeat(bytes));
        assert!(offer(&sdp(MAX_SDP_BYTES)).is_ok());
        assert_eq!(offer(&sdp(MAX_SDP_BYTES + 1)), Err(Reject::SdpOversized(MAX_SDP_BYTES + 1)));

        let servers = |n: usize| {
            format!(r#"{{"sdp":"v=0","timestamp":5,"rtc_servers":[{}]}}"#, vec![r#"{"urls":"stun:a"}"#; n].join(","))
        };
        assert_eq!(offer(&servers(MAX_RTC_SERVERS)).unwrap().rtc_servers.len(), MAX_RTC_SERVERS);
        assert_eq!(offer(&servers(MAX_RTC_SERVERS + 1)), Err(Reject::Payload("rtc_servers")));

        let candidate =
            |bytes: usize| read(SignalKind::Candidate, &format!(r#"{{"candidate":"{}"}}"#, "c".repeat(bytes)));
        assert!(candidate(MAX_CANDIDATE_BYTES).is_ok());
        assert_eq!(candidate(MAX_CANDIDATE_BYTES + 1), Err(Reject::Payload("candidate")));
    }

    #[test]
    fn a_candidate_may_lack_its_m_line() {
        let body = read(SignalKind::Candidate, r#"{"candidate":"","sdpMid":null,"sdpMLineIndex":"2"}"#).unwrap();
        let expected =
            IceCandidate { candidate: String::new(), sdp_mid: None, sdp_mline_index: Some(2), timestamp: CREATED_AT };
        assert_eq!(body, Body::Candidate(expected));
        let index =
            |index: &str| read(SignalKind::Candidate, &format!(r#"{{"candidate":"","sdpMLineIndex":{index}}}"#));
        assert_eq!(index("4294967296"), Err(Reject::Payload("sdpMLineIndex")));
        assert_eq!(index("-1"), Err(Reject::Payload("sdpMLineIndex")));
    }

    #[test]
    fn a_refusal_needs_no_sdp_and_an_acceptance_does() {
        let refusal = Answer::refusing(7);
        assert_eq!(read(SignalKind::Answer, r#"{"accepted":false,"timestamp":7}"#), Ok(Body::Answer(refusal)));
        assert_eq!(read(SignalKind::Answer, r#"{"accepted":true,"timestamp":7}"#), Err(Reject::Payload("sdp")));
        assert_eq!(read(SignalKind::Answer, r#"{"sdp":"v=0"}"#), Err(Reject::Payload("accepted")));
    }

    #[test]
    fn a_hang_up_counts_whatever_its_words() {
        let end = |json: &str| match read(SignalKind::End, json) {
            Ok(Body::End(end)) => end,
            other => panic!("read {other:?}"),
        };
        assert_eq!(end("{}"), CallEnd::new(EndWord::UserLeft, CREATED_AT));
        assert_eq!(end(r#"{"reason":"timeout","timestamp":"8"}"#).reason, EndWord::Timeout);
        assert_eq!(end(r#"{"reason":"bored","detail":7,"timestamp":[]}"#).reason, EndWord::UserLeft);
        let long = format!(r#"{{"reason":"rejected","detail":"a\u001b[31m\n{}"}}"#, "ö".repeat(500));
        let detail = end(&long).detail.unwrap();
        assert!(detail.len() <= super::super::MAX_DETAIL_BYTES && detail.starts_with("a [31m ö"), "{detail:?}");
    }

    #[test]
    fn names_are_fit_to_be_shown_and_a_bad_one_is_as_good_as_none() {
        let name = |name: &str| offer(&format!(r#"{{"sdp":"v=0","timestamp":5,"name":{name}}}"#)).unwrap().name;
        assert_eq!(name(r#"" Front door\n""#).as_deref(), Some("Front door"));
        assert_eq!(name(r#""a\u001b[31mb""#).as_deref(), Some("a [31mb"));
        assert_eq!(name(&format!("\"{}\"", "ö".repeat(65))).map(|name| name.chars().count()), Some(64));
        for none in ["null", "\"\"", "\" \\t\"", "7", "{}"] {
            assert_eq!(name(none), None, "{none}");
        }
    }

    #[test]
    fn devices_and_causes_are_read_and_unknown_ones_passed_over() {
        let answer = |device: &str| match read(
            SignalKind::Answer,
            &format!(r#"{{"accepted":true,"sdp":"v=0","device":{device}}}"#),
        ) {
            Ok(Body::Answer(answer)) => answer.device,
            other => panic!("read {other:?}"),
        };
        assert_eq!(answer("\"d3v1ce\""), Some("d3v1ce".parse().unwrap()));
        assert_eq!(answer(&format!("\"{}\"", "f".repeat(64))).map(|device| device.as_str().len()), Some(64));
        for none in ["null", "\"\"", "\"a b\"", "7", &format!("\"{}\"", "f".repeat(65))] {
            assert_eq!(answer(none), None, "{none}");
        }

        let end = |json: &str| match read(SignalKind::End, json) {
            Ok(Body::End(end)) => (end.except, end.cause),
            other => panic!("read {other:?}"),
        };
        let except = Some("d3v1ce".parse().unwrap());
        assert_eq!(end(r#"{"except":"d3v1ce","cause":"elsewhere"}"#), (except, Some(EndCause::Elsewhere)));
        assert_eq!(end(r#"{"except":["d3v1ce"],"cause":"weather"}"#), (None, None));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for json in ["", "null", "[]", "3", "\"{}\"", "{", "{}{}", &"[".repeat(10_000)] {
            for kind in SignalKind::ALL {
                assert_eq!(read(kind, json), Err(Reject::Payload("json")));
            }
        }
    }
}
