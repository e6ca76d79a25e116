//! Where a person is reached: the relay lists that people publish of themselves.

use nostr::{Event, RelayUrl};

use super::MAX_URL_BYTES;

/// NIP-17: where messages to this key are wanted.
pub const INBOX_LIST: u16 = 10050;
/// NIP-65: where this key reads and writes.
pub const RELAY_LIST: u16 = 10002;

/// How many relays are taken of one person's lists: who lists more has most of them for other things.
const MOST: usize = 8;

/// The relays at which whoever signed these lists reads what is sent to it: those of its NIP-17 list, then those of its NIP-65 list. Other events
/// are passed over.
pub fn reached_at(lists: &[Event]) -> Vec<RelayUrl> {
    let of_kind = |kind: u16| lists.iter().filter(move |event| event.kind.as_u16() == kind);
    let tags = |event: &Event| event.tags.iter().map(|tag| tag.as_slice().to_vec()).collect::<Vec<_>>();
    let inbox = of_kind(INBOX_LIST).flat_map(tags).filter(|tag| tag[0] == "relay");
    let read = of_kind(RELAY_LIST).flat_map(tags).filter(|tag| tag[0] == "r");
    let read = read.filter(|tag| tag.get(2).is_none_or(|marker| marker == "read"));
    let mut found = Vec::new();
    for tag in inbox.chain(read) {
        let url = tag.get(1).filter(|url| url.len() <= MAX_URL_BYTES).and_then(|url| RelayUrl::parse(url).ok());
        if let Some(url) = url.filter(|url| !found.contains(url)) {
            found.push(url);
        }
    }
    found.truncate(MOST);
    found
}

#[cfg(test)]
mod tests {
    use nostr::{EventBuilder, Keys, Kind, Tag};

    use super::*;

    fn list(kind: u16, tags: &[&[&str]]) -> Event {
        let tags = tags.iter().map(|tag| Tag::parse(tag.iter().copied()).unwrap());
        EventBuilder::new(Kind::from(kind), "").tags(tags).sign_with_keys(&Keys::generate()).unwrap()
    }

    #[test]
    fn the_inbox_comes_first_and_where_only_is_written_does_not_count() {
        let lists = [
            list(
                RELAY_LIST,
                &[
                    &["r", "wss://both.example"],
                    &["r", "wss://out.example", "write"],
                    &["r", "wss://in.example", "read"],
                ],
            ),
            list(
                INBOX_LIST,
                &[&["relay", "wss://inbox.example"], &["relay", "nonsense"], &["relay"], &["r", "wss://no"]],
            ),
            list(10000, &[&["relay", "wss://other.example"]]),
        ];
        let found: Vec<String> = reached_at(&lists).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["wss://inbox.example", "wss://both.example", "wss://in.example"]);
    }

    #[test]
    fn of_a_long_list_a_few_are_taken_and_each_once() {
        let urls: Vec<String> = (0..100).map(|n| format!("wss://r{}.example", n / 2)).collect();
        let tags: Vec<[&str; 2]> = urls.iter().map(|url| ["relay", url]).collect();
        let tags: Vec<&[&str]> = tags.iter().map(|tag| &tag[..]).collect();
        let found = reached_at(&[list(INBOX_LIST, &tags)]);
        assert_eq!((found.len(), found[1].as_str()), (MOST, "wss://r1.example"));
    }
}
