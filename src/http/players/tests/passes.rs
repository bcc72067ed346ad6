use super::*;
use crate::config::PassPolicy;

#[tokio::test]
async fn pass_opens_all_files_of_its_livestream() {
    let world = world(|config| {
        config.players.access = PlayerAccess::Pass;
        config.listener.passes = PassPolicy::Streamers;
    });
    world.clip(M4A);
    let passes = world.passes.as_ref().expect("passes");
    let issue = |id: &str| {
        let id = LivestreamId::new(id).expect("an id");
        let issued = passes.issue(&id, Duration::from_mins(1));
        issued.expect("a pass").text
    };
    let (pass, other) = (issue("show"), issue("other"));
    // As a player does: from address to address.
    let (_, index) = world.text(&format!("index.m3u8?pass={pass}")).await;
    let (_, playlist) = world.text(index.lines().last().expect("a line")).await;
    let header = playlist.split('"').nth(1).expect("a header");
    let segment = playlist.lines().last().expect("a segment");
    for file in [header, segment, &format!("live?pass={pass}")] {
        assert_eq!(world.get(file, &[]).await.status(), 200, "{file}");
    }
    let authorization = format!("Bearer {pass}");
    let headers = [("authorization", authorization.as_str())];
    let answer = world.get("live.m3u8", &headers).await;
    let (status, _, body) = whole(answer).await;
    assert_eq!(status, 200);
    assert!(!String::from_utf8_lossy(&body).contains("pass="));
    let token = world
        .signer
        .mint(&UserId::new("ada"), Duration::from_mins(1));
    let bare = segment.split('?').next().expect("a name");
    for file in ["live", "index.m3u8", bare] {
        assert_eq!(world.text(file).await.0, 401, "{file}");
        for bad in ["nonsense", &other, &token] {
            let (status, text) = world.text(&format!("{file}?pass={bad}")).await;
            assert!(status == 401 && text.contains("invalid"), "{file}: {text}");
            assert!(!text.contains(bad), "{text}");
        }
    }
    passes.revoke(&id()).write();
    for file in [bare, "live", "index.m3u8"] {
        let (status, text) = world.text(&format!("{file}?pass={pass}")).await;
        assert!(
            status == 401 && text.contains("has ended"),
            "{file}: {text}"
        );
    }
}
