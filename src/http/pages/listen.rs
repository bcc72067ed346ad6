//! The listening page of one livestream, `/listen/{id}`, which says what is played.
//!
//! The file `listen.html` is the page of no livestream. Its parts between `<!--name-->` and `<!--/name-->` are replaced.
//!
//! **Invariant**: every text of a document is escaped, and the page may load its cover from the cover's origin alone.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::HeaderValue;

use super::content_policy;
use super::sign_in::SignIn;
use super::template::{escaped, with};
use crate::broadcast::LivestreamId;
use crate::config::PlayerAccess;
use crate::directory::About;
use crate::http::documents::Documents;

/// The page of no livestream.
const TEMPLATE: &str = include_str!("listen.html");
/// What is said of a livestream whose document says nothing.
const NO_DESCRIPTION: &str = "One voice, live, to everyone who listens.";

/// The addresses for other players; the page's script fills them in, since it alone knows the pass.
const PLAYER: &str = r#"<details id="other-player" data-needs="ACCESS" hidden>
      <summary>Open in another player</summary>
      <div class="card">
        <p class="hint">VLC, a radio or a smart speaker plays this address while the livestream is on air:</p>
        <div class="copy">
          <input id="player-address" readonly aria-label="Address for players">
          <button id="player-copy" class="button" type="button">Copy</button>
        </div>
        <p class="hint">Phones and televisions may want <a id="player-hls" href="/">HLS</a> instead.</p>
      </div>
    </details>"#;

/// The listening pages.
pub(super) struct ListenPage {
    documents: Documents,
    /// Origins of the pages that may frame it.
    frames: Arc<[String]>,
    players: PlayerAccess,
    sign_in: Option<SignIn>,
}

/// A page, and its Content-Security-Policy.
pub(super) struct Rendered {
    pub(super) html: String,
    pub(super) policy: HeaderValue,
}

impl ListenPage {
    pub(super) fn new(
        documents: Documents,
        frames: Arc<[String]>,
        players: PlayerAccess,
        sign_in: Option<SignIn>,
    ) -> Self {
        Self {
            documents,
            frames,
            players,
            sign_in,
        }
    }

    /// The page of `id`, for a client at `address`. An id that can name no document has the page of no livestream.
    pub(super) async fn render(&self, id: &str, address: IpAddr) -> Rendered {
        let about = match LivestreamId::new(id) {
            Some(id) => self.documents.about(&id, address).await,
            None => None,
        };
        let mut html = TEMPLATE.to_owned();
        if let Some(about) = about.as_ref().filter(|it| !it.title().is_empty()) {
            html = with(&html, "head", &head(about));
            html = with(&html, "about", &heading(about));
        }
        if let Some(sign_in) = &self.sign_in {
            html = sign_in.offered_on(&html);
        }
        if let Some(access) = in_address(self.players) {
            html = with(&html, "player", &PLAYER.replace("ACCESS", access));
        }
        let cover = about.as_ref().and_then(About::cover);
        let origin = cover.map(|cover| cover.origin.as_str());
        let policy = content_policy(&self.frames, self.sign_in.as_ref(), origin);
        Rendered { html, policy }
    }
}

/// What an address needs for players to listen by it; none if an address is not enough.
fn in_address(access: PlayerAccess) -> Option<&'static str> {
    match access {
        PlayerAccess::Off | PlayerAccess::Token => None,
        PlayerAccess::Pass => Some("pass"),
        PlayerAccess::Public => Some("nothing"),
    }
}

/// The title, and what crawlers show of a link.
fn head(about: &About) -> String {
    let title = escaped(about.title());
    let description = match (about.description(), about.artist()) {
        ("", "") => NO_DESCRIPTION.to_owned(),
        ("", artist) => format!("{}, live.", escaped(artist)),
        (description, _) => escaped(description),
    };
    let mut head = format!(
        "<title>{title} · Castaway</title>\n  \
         <meta name=\"description\" content=\"{description}\">\n  \
         <meta property=\"og:site_name\" content=\"Castaway\">\n  \
         <meta property=\"og:type\" content=\"website\">\n  \
         <meta property=\"og:title\" content=\"{title}\">\n  \
         <meta property=\"og:description\" content=\"{description}\">\n  \
         <meta name=\"twitter:card\" content=\"summary\">"
    );
    if let Some(cover) = about.cover() {
        let url = escaped(&cover.url);
        let _ = write!(head, "\n  <meta property=\"og:image\" content=\"{url}\">");
    }
    head
}

/// What people see above the button.
fn heading(about: &About) -> String {
    let mut heading = String::new();
    if let Some(cover) = about.cover() {
        let url = escaped(&cover.url);
        let _ = write!(
            heading,
            "<img id=\"cover\" class=\"cover\" src=\"{url}\" alt=\"\" width=\"96\" height=\"96\">\n      "
        );
    }
    let title = escaped(about.title());
    let _ = write!(heading, "<h1 id=\"title\" data-known>{title}</h1>");
    if !about.artist().is_empty() {
        let artist = escaped(about.artist());
        let _ = write!(heading, "\n      <p id=\"artist\">{artist}</p>");
    }
    if !about.description().is_empty() {
        let description = escaped(about.description());
        let _ = write!(
            heading,
            "\n      <details id=\"description\"><summary>About the livestream</summary><p>{description}</p></details>"
        );
    }
    heading
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About::new([
            "Tom & \"Jerry\"</title><script>alert(1)</script>",
            "It's <b>bold</b> <!--/about-->",
            "<i>Ada</i>",
            "https://pictures.example/a.png?x=1&y=2",
        ])
    }

    #[test]
    fn each_part_of_the_template_is_there_once() {
        for part in ["head", "about", "sign-in", "player"] {
            for mark in [format!("<!--{part}-->"), format!("<!--/{part}-->")] {
                assert_eq!(TEMPLATE.matches(&mark).count(), 1, "{mark}");
            }
        }
    }

    #[test]
    fn texts_of_a_document_are_escaped() {
        let html = with(
            &with(TEMPLATE, "head", &head(&about())),
            "about",
            &heading(&about()),
        );
        for dangerous in ["<script>", "<b>", "<i>", "\"Jerry\"", "<!--/about-->"] {
            assert!(!html.contains(dangerous), "{dangerous}: {html}");
        }
        assert!(html.contains("<title>Tom &amp; &quot;Jerry&quot;&lt;/title&gt;&lt;script&gt;"));
        assert!(html.contains("content=\"https://pictures.example/a.png?x=1&amp;y=2\""));
        assert_eq!(html.matches("<title>").count(), 1);
        assert_eq!(html.matches("<h1").count(), 1);
    }

    #[test]
    fn description_falls_back_to_the_artist() {
        let said = |description, artist| head(&About::new(["Tea", description, artist, ""]));
        assert!(said("", "").contains(NO_DESCRIPTION));
        assert!(said("", "Ada").contains("content=\"Ada, live.\""));
        assert!(!said("Hot", "Ada").contains("Ada"));
        assert!(!said("Hot", "Ada").contains("og:image"));
    }

    #[test]
    fn addresses_for_players_are_offered_where_they_work() {
        let offered = [
            PlayerAccess::Off,
            PlayerAccess::Token,
            PlayerAccess::Pass,
            PlayerAccess::Public,
        ]
        .map(in_address);
        assert_eq!(offered, [None, None, Some("pass"), Some("nothing")]);
    }
}
