use super::*;

const LENGTH: Duration = Duration::from_mins(2);

fn window(max: usize, max_per_user: usize) -> ReturnWindow {
    ReturnWindow::new(&config::Identity {
        return_window: LENGTH,
        max_returns: max,
        max_returns_per_user: max_per_user,
        ..config::Identity::default()
    })
}

fn to(user: &str, role: Role, livestream: &str, token: &str) -> Return {
    Return {
        user: UserId::new(user),
        role,
        livestream: LivestreamId::new(livestream).expect("an id"),
        token: TokenHash::of(token),
    }
}

fn ada() -> Return {
    to("ada", Role::Streamer, "a", "token")
}

fn lost(window: &mut ReturnWindow, to: &Return, now: Instant) {
    window.enter(to);
    window.lose(to, now);
}

#[test]
fn lost_socket_returns_in_time_to_its_livestream() {
    let now = Instant::now();
    let mut window = window(10, 10);
    lost(&mut window, &ada(), now);
    assert!(window.admits(&ada(), now + LENGTH));
    assert!(!window.admits(&ada(), now + LENGTH + Duration::from_millis(1)));
    for other in [
        to("bob", Role::Streamer, "a", "token"),
        to("ada", Role::Listener, "a", "token"),
        to("ada", Role::Streamer, "b", "token"),
        to("ada", Role::Streamer, "a", "other"),
    ] {
        assert!(!window.admits(&other, now), "{other:?}");
    }
}

#[test]
fn open_socket_admits_its_successor() {
    let now = Instant::now();
    let mut window = window(10, 10);
    window.enter(&ada());
    assert!(window.admits(&ada(), now));
    // The successor connects before the loss of the first is detected.
    window.enter(&ada());
    window.lose(&ada(), now);
    window.leave(&ada());
    assert!(window.admits(&ada(), now));
    window.enter(&ada());
    window.leave(&ada());
    assert!(!window.admits(&ada(), now), "all have left for good");
    assert_eq!(window.count(now), (0, 0));
}

#[test]
fn rights_of_two_roles_are_separate() {
    let now = Instant::now();
    let mut window = window(10, 10);
    let listener = to("ada", Role::Listener, "a", "token");
    lost(&mut window, &ada(), now);
    lost(&mut window, &listener, now);
    window.enter(&listener);
    window.leave(&listener);
    assert!(window.admits(&ada(), now));
    assert!(!window.admits(&listener, now));
}

#[test]
fn each_lost_socket_has_its_right() {
    let now = Instant::now();
    let mut window = window(10, 10);
    window.enter(&ada());
    window.enter(&ada());
    window.lose(&ada(), now);
    window.lose(&ada(), now);
    for _ in 0..2 {
        assert!(window.admits(&ada(), now));
        window.enter(&ada());
    }
    window.leave(&ada());
    window.leave(&ada());
    assert!(!window.admits(&ada(), now));
}

#[test]
fn user_evicts_no_right_of_another_user() {
    let now = Instant::now();
    let mut window = window(20, 4);
    lost(&mut window, &ada(), now);
    for number in 0..1000 {
        let token = number.to_string();
        lost(&mut window, &to("eve", Role::Listener, "a", &token), now);
    }
    assert!(window.admits(&ada(), now));
    assert!(window.admits(&to("eve", Role::Listener, "a", "999"), now));
    assert!(!window.admits(&to("eve", Role::Listener, "a", "995"), now));
    assert_eq!(window.count(now), (5, 996));
}

#[test]
fn rights_are_bounded_in_total() {
    let now = Instant::now();
    let mut window = window(20, 4);
    for number in 0..30 {
        let user = number.to_string();
        lost(&mut window, &to(&user, Role::Listener, "a", "token"), now);
    }
    assert_eq!(window.count(now), (20, 10));
    assert_eq!(window.lost.len(), 20);
    assert!(!window.admits(&to("9", Role::Listener, "a", "token"), now));
    assert!(window.admits(&to("10", Role::Listener, "a", "token"), now));
}

#[test]
fn expired_rights_are_dropped() {
    let now = Instant::now();
    let mut window = window(20, 4);
    lost(&mut window, &ada(), now);
    let bob = to("bob", Role::Listener, "a", "token");
    lost(&mut window, &bob, now + LENGTH * 2);
    assert_eq!(window.count(now), (1, 0));
}

#[test]
fn rights_are_handed_over_with_their_age() {
    let now = Instant::now() + LENGTH;
    let mut before = window(20, 4);
    let bob = to("bob", Role::Listener, "a", "token");
    lost(&mut before, &bob, now);
    before.enter(&ada());
    let later = now + LENGTH / 2;
    let rights = before.hand_over(later);
    assert_eq!(rights.len(), 2);
    let mut after = window(20, 4);
    let pause = Duration::from_secs(10);
    after.take_over(&rights, pause, later);
    assert!(after.admits(&ada(), later + LENGTH - pause));
    assert!(!after.admits(&ada(), later + LENGTH));
    assert!(after.admits(&bob, later + LENGTH / 2 - pause));
    assert!(!after.admits(&bob, later + LENGTH / 2));
    let mut late = window(20, 4);
    late.take_over(&rights, LENGTH, later);
    assert_eq!(late.count(now), (0, 0));
}

#[test]
fn expired_right_is_not_counted() {
    let now = Instant::now();
    let mut window = window(10, 10);
    lost(&mut window, &ada(), now);
    assert_eq!(window.count(now + LENGTH), (1, 0));
    assert_eq!(window.count(now + LENGTH * 2), (0, 0));
    assert!(window.users.is_empty() && window.lost.is_empty());
}
