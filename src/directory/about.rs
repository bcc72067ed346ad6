//! What a livestream's document says of it to people: title, description, artist and cover.
//!
//! The app's users write these fields. **Invariant**: a text here has no control characters and at most its limit of
//! characters, and a cover is an https URL in normal form, which contains no quote and no space.

use std::sync::Arc;

use serde_json::Value;
use url::Url;

/// The longest title, in characters.
const MAX_TITLE: usize = 200;
/// The longest name of an artist, in characters.
const MAX_ARTIST: usize = 100;
/// The longest description, in characters.
const MAX_DESCRIPTION: usize = 1000;
/// The longest URL of a cover, in bytes.
const MAX_COVER: usize = 2048;

/// The fields that people see; each is empty or none if the document does not have it as a text. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About(Arc<Fields>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    title: String,
    description: String,
    artist: String,
    cover: Option<Cover>,
}

/// The picture of a livestream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cover {
    /// Its https URL.
    pub url: String,
    /// Scheme, host and port of the URL, as a Content-Security-Policy names them.
    pub origin: String,
}

impl About {
    /// The names of the fields in a document.
    pub const FIELDS: [&'static str; 4] = ["title", "description", "artistName", "coverUrl"];

    /// Takes what can be shown of the texts of [`Self::FIELDS`], in that order.
    pub fn new([title, description, artist, cover]: [&str; 4]) -> Self {
        Self(Arc::new(Fields {
            title: shown(title, MAX_TITLE),
            description: shown(description, MAX_DESCRIPTION),
            artist: shown(artist, MAX_ARTIST),
            cover: Cover::new(cover),
        }))
    }

    /// Of a document's fields, in Firestore's representation.
    pub(super) fn of_document(fields: &Value) -> Self {
        Self::new(Self::FIELDS.map(|name| fields[name]["stringValue"].as_str().unwrap_or_default()))
    }

    /// The title, at most 200 characters.
    pub fn title(&self) -> &str {
        &self.0.title
    }

    /// The description, at most 1000 characters.
    pub fn description(&self) -> &str {
        &self.0.description
    }

    /// The artist's name, at most 100 characters.
    pub fn artist(&self) -> &str {
        &self.0.artist
    }

    /// The cover.
    pub fn cover(&self) -> Option<&Cover> {
        self.0.cover.as_ref()
    }
}

impl Cover {
    fn new(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let is_plain = url.username().is_empty() && url.password().is_none();
        let fits = url.scheme() == "https" && is_plain && url.as_str().len() <= MAX_COVER;
        // A path may hold an apostrophe; the other characters with a meaning in HTML are encoded already.
        fits.then(|| Self {
            url: url.as_str().replace('\'', "%27"),
            origin: url.origin().ascii_serialization(),
        })
    }
}

/// One line of at most `most` characters, without what moves or hides the text beside it.
fn shown(text: &str, most: usize) -> String {
    let words = text.split(|it: char| it.is_whitespace() || it.is_control());
    let words = words.filter(|word| !word.is_empty());
    let mut line = String::new();
    for word in words {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|it| !is_direction(*it)).take(most + 1));
        // Cut below; the rest of a long document is not read.
        if line.chars().count() > most {
            break;
        }
    }
    match line.char_indices().nth(most) {
        None => line,
        Some(_) => line.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// Characters that turn the direction of the text that follows them.
fn is_direction(character: char) -> bool {
    matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_that_are_no_texts_are_left_out() {
        let fields = json!({
            "title": { "integerValue": "7" },
            "description": { "stringValue": "told" },
            "coverUrl": { "stringValue": "covers/7.png" },
        });
        let about = About::of_document(&fields);
        assert_eq!((about.title(), about.description()), ("", "told"));
        assert_eq!((about.artist(), about.cover()), ("", None));
        assert_eq!(About::of_document(&json!({})), About::default());
    }

    #[test]
    fn text_is_one_line_within_its_limit() {
        let titled = |title: &str| About::new([title, "", "", ""]).title().to_owned();
        assert_eq!(titled(" a\nb\u{0}\u{202e}c \t d "), "a b c d");
        let long = titled(&"ä".repeat(100_000));
        assert_eq!(long.chars().count(), MAX_TITLE);
        assert!(long.ends_with('…'));
        assert_eq!(titled(&"x".repeat(MAX_TITLE)), "x".repeat(MAX_TITLE));
        let words = titled(&"word ".repeat(100_000));
        assert_eq!(words.chars().count(), MAX_TITLE);
    }

    #[test]
    fn cover_is_an_https_url() {
        let cover = |url: &str| About::new(["", "", "", url]).cover().cloned();
        let good = cover("https://Pictures.Example:8443/a b\"'<>.png?x=\"y'").expect("a cover");
        assert_eq!(good.origin, "https://pictures.example:8443");
        assert!(
            !good.url.contains(['"', '\'', '<', '>', ' ']),
            "{}",
            good.url
        );
        for bad in [
            "",
            "http://pictures.example/a.png",
            "javascript:alert(1)",
            "data:image/png;base64,AAAA",
            "//pictures.example/a.png",
            "https://",
            "https://user:word@pictures.example/a.png",
        ] {
            assert_eq!(cover(bad), None, "{bad}");
        }
        let long = format!("https://pictures.example/{}", "a".repeat(MAX_COVER));
        assert_eq!(cover(&long), None);
    }
}
