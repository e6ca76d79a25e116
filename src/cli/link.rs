//! Links to the caller page: what it is to call stands in the fragment, which no server sees.

/// A link that makes the page at `page` call this line, with more fields of its fragment.
pub(super) fn page_link(page: &str, npub: &str, relays: &[String], more: &[(&str, &str)]) -> String {
    let relays = relays.iter().map(|relay| ("relay", relay.as_str()));
    let fields = std::iter::once(("npub", npub)).chain(relays).chain(more.iter().copied());
    let fields: Vec<String> = fields.map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    format!("{page}#{}", fields.join("&"))
}

/// What a form's fields give a meaning of their own is escaped, and nothing else: the link stays short and can be read.
fn escaped(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/@[]?=,;!$'()*".contains(&byte);
    value.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_can_be_read_by_people_and_by_the_page() {
        let relays = ["ws://127.0.0.1:7777".to_owned(), "wss://relay.example.com/a&b?c=d+e%20".to_owned()];
        let link = page_link("http://127.0.0.1:8080/", "npub1xyz", &relays, &[("name", "grandma's café & door")]);
        assert_eq!(
            link,
            "http://127.0.0.1:8080/#npub=npub1xyz&relay=ws://127.0.0.1:7777\
             &relay=wss://relay.example.com/a%26b?c=d%2Be%2520&name=grandma's%20caf%C3%A9%20%26%20door"
        );
        let fragment = link.split_once('#').unwrap().1;
        let read: Vec<_> = url::form_urlencoded::parse(fragment.as_bytes()).into_owned().collect();
        assert_eq!(read[2].1, relays[1]);
        assert_eq!(read[3].1, "grandma's café & door");
    }
}
