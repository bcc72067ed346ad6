//! Pages whose parts between `<!--name-->` and `<!--/name-->` are replaced.

/// The page with this part replaced.
pub(super) fn with(page: &str, part: &str, text: &str) -> String {
    let (before, rest) = page
        .split_once(&format!("<!--{part}-->"))
        .unwrap_or((page, ""));
    let (_, after) = rest
        .split_once(&format!("<!--/{part}-->"))
        .unwrap_or_default();
    format!("{before}{text}{after}")
}

/// A text for HTML, also between double quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            other => html.push(other),
        }
    }
    html
}
