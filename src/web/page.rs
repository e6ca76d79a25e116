//! The caller page: one file that holds everything, built from `web/src` by `npm run build`.

use std::sync::LazyLock;

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;

const CALLER: &str = include_str!("../../web/dist/caller.html");

/// The policy that the page states for itself, and that nobody may frame it: this one cannot be said inside a page.
static POLICY: LazyLock<String> = LazyLock::new(|| format!("{}; frame-ancestors 'none'", stated_policy(CALLER)));

/// The content of the page's policy element, or a policy that allows nothing.
fn stated_policy(page: &str) -> &str {
    const START: &str = r#"<meta http-equiv="Content-Security-Policy" content=""#;
    page.split_once(START).and_then(|(_, rest)| rest.split_once('"')).map_or("default-src 'none'", |(policy, _)| policy)
}

pub(super) async fn caller() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        // A new callgate has a new page.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, CALLER)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
        page.split_once(start).unwrap().1.split_once(end).unwrap().0
    }

    fn hash(text: &str) -> String {
        format!("'sha256-{}'", base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text)))
    }

    #[test]
    fn the_policy_names_the_hashes_of_the_pages_script_and_style_and_nothing_unsafe() {
        let policy = stated_policy(CALLER);
        assert!(policy.contains(&format!("script-src {};", hash(between(CALLER, "<script>", "</script>")))));
        assert!(policy.contains(&format!("style-src {};", hash(between(CALLER, "<style>", "</style>")))));
        assert!(policy.starts_with("default-src 'none'"));
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for attribute in ["src=\"http", "href=\"http", "src=\"//", "href=\"//", "@import", "url(http"] {
            assert!(!CALLER.contains(attribute), "{attribute}");
        }
    }

    #[test]
    fn a_page_without_a_policy_may_do_nothing() {
        assert_eq!(stated_policy("<html></html>"), "default-src 'none'");
    }
}
