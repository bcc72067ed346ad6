//! Finishing that is broken off at every step, or done by several nodes at once, leaves what it leaves when nothing goes
//! wrong.

use super::*;

/// A late clip is brought after this.
const LATE: u64 = START + 1000;

/// Orders of the calls of three nodes that are tried.
const SEEDS: u64 = 100;

/// What is left of a process from this call on.
#[derive(Debug, Clone, Copy)]
enum Crash {
    /// The call is not made.
    Before(usize),
    /// It is made, and nobody hears the answer.
    After(usize),
}

impl Crash {
    fn at_each(calls: usize) -> impl Iterator<Item = Self> {
        (1..=calls).flat_map(|call| [Self::Before(call), Self::After(call)])
    }

    fn begin(self, nodes: &Nodes) {
        match self {
            Self::Before(call) => nodes.bucket.faults.fail(call, usize::MAX),
            Self::After(call) => nodes.bucket.faults.lose_answer(call),
        }
    }
}

/// Rounds until nothing is left to be done, and the calls that the first of them made.
async fn rounds(nodes: &Nodes, from: u64, count: u64) -> usize {
    nodes.bucket.faults.fail(0, 0);
    for round in 0..count {
        nodes.round(from + round).await;
    }
    nodes.bucket.faults.calls.load(Ordering::SeqCst)
}

/// Breaks off a round at each of its calls, goes on, and compares with what is left where nothing went wrong. Gives the
/// number of calls.
async fn breaks_off_each(
    prepared: impl AsyncFn() -> Nodes,
    from: u64,
    done_after: u64,
    is_done: impl Fn(&Nodes) -> bool,
) -> usize {
    let good = prepared().await;
    let calls = rounds(&good, from, 1).await;
    rounds(&good, from + 1, done_after).await;
    let expected = good.objects().await;
    for crash in Crash::at_each(calls) {
        let nodes = prepared().await;
        crash.begin(&nodes);
        // It may be the listing itself.
        nodes.finisher().round(from).await.ok();
        rounds(&nodes, from + 1, done_after + 1).await;
        assert_eq!(
            nodes.objects().await,
            expected,
            "{crash:?} of {calls} calls"
        );
        assert!(is_done(&nodes), "{crash:?} of {calls} calls");
    }
    calls
}

fn is_told(nodes: &Nodes, times: usize) -> bool {
    let told = nodes.told.lock();
    let mut files: Vec<_> = told.iter().map(|(_, manifest)| manifest.encode()).collect();
    files.dedup();
    files.len() == times
}

#[tokio::test]
async fn finishing_goes_on_after_each_fault() {
    let calls = breaks_off_each(async || over(4).await, START + 201, 1, |it| is_told(it, 1)).await;
    assert!(calls > 20, "there are {calls} calls");
}

#[tokio::test]
async fn sweep_goes_on_after_each_fault() {
    let prepared = async || {
        let mut nodes = over(4).await;
        nodes.round(START + 201).await;
        nodes.config.keep_clips = Duration::ZERO;
        nodes
    };
    let calls = breaks_off_each(prepared, START + 202, 1, |it| is_told(it, 1)).await;
    assert!(calls > 8, "there are {calls} calls");
    let nodes = prepared().await;
    rounds(&nodes, START + 202, 1).await;
    let objects = nodes.objects().await;
    let is_left =
        |(name, _): &(String, Bytes)| name.contains("/clips/") || name.starts_with(names::PENDING);
    assert!(!objects.iter().any(is_left), "{objects:?}");
    assert_eq!(nodes.sound().await, frames(1..=4));
}

/// A finished recording, for which a node has brought another clip since: of another coding, so that there is another file.
async fn with_late_clip() -> Nodes {
    let nodes = over(4).await;
    nodes.round(START + 201).await;
    let node = nodes.start();
    node.upload((7, 5), START + 131, None).wait().await;
    let mut other = vec![0xFF, 0xFB, 0x94, 0x44];
    // 48 kHz.
    other.resize(384, 6);
    node.upload_bytes((7, 6), START + 157, None, other)
        .wait()
        .await;
    node.is_brought().await;
    nodes
}

#[tokio::test]
async fn joining_again_goes_on_after_each_fault() {
    let calls = breaks_off_each(with_late_clip, LATE, 1, |it| is_told(it, 2)).await;
    assert!(calls > 30, "there are {calls} calls");
    let nodes = with_late_clip().await;
    rounds(&nodes, LATE, 2).await;
    assert_eq!(nodes.sound().await, frames(1..=5));
    let files: Vec<String> = nodes.manifests().await[0]
        .files
        .iter()
        .map(|it| it.name.clone())
        .collect();
    assert_eq!(files, ["recording.mp3", "recording-2.mp3"]);
}

#[tokio::test]
async fn opening_goes_on_after_each_fault() {
    let begun = async |crash: Option<Crash>| {
        let nodes = Nodes::new();
        let node = nodes.start();
        if let Some(crash) = crash {
            crash.begin(&nodes);
        }
        node.upload((7, 1), START, None).wait().await;
        node.recorder.ended(&show(), "ended", START + 100);
        node.recorder.flush().wait().await;
        if crash.is_some() {
            while nodes.bucket.faults.is_well() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let directory = node.kill().await;
            nodes.bucket.faults.fail(0, 0);
            nodes.start_in(directory).is_brought().await;
        } else {
            node.is_brought().await;
        }
        let calls = nodes.bucket.faults.calls.load(Ordering::SeqCst);
        nodes.round(START + 101).await;
        (nodes.objects().await, calls)
    };
    let (expected, calls) = begun(None).await;
    for crash in Crash::at_each(calls) {
        assert_eq!(
            begun(Some(crash)).await.0,
            expected,
            "{crash:?} of {calls} calls"
        );
    }
}

#[tokio::test]
async fn nodes_that_finish_at_once_agree() {
    let good = over(4).await;
    rounds(&good, START + 201, 1).await;
    let expected = good.objects().await;
    for seed in 1..=SEEDS {
        let nodes = over(4).await;
        nodes.bucket.faults.shuffle(seed);
        let (one, two, three) = (nodes.finisher(), nodes.finisher(), nodes.finisher());
        let at = START + 201;
        let (one, two, three) = tokio::join!(one.round(at), two.round(at), three.round(at));
        for outcome in [one, two, three] {
            outcome.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        assert_eq!(nodes.objects().await, expected, "seed {seed}");
        assert!(is_told(&nodes, 1), "seed {seed}: one message");
    }
}

#[tokio::test]
async fn clip_that_comes_while_nodes_finish_is_joined() {
    let good = with_late_clip().await;
    rounds(&good, LATE, 2).await;
    let expected = sounds(&good).await;
    let clips: Vec<_> = good
        .objects()
        .await
        .into_iter()
        .filter(|(name, _)| is_late(name))
        .collect();
    for seed in 1..=SEEDS {
        let nodes = over(4).await;
        nodes.bucket.faults.shuffle(seed);
        let late = async {
            // Before, while and after the nodes list what is there.
            for _ in 0..seed {
                tokio::task::yield_now().await;
            }
            for (name, bytes) in &clips {
                nodes.bucket.put(name, bytes.clone()).await.expect("a put");
            }
        };
        let again = async || {
            let finisher = nodes.finisher();
            for round in 0..3 {
                finisher
                    .round(START + 201 + round)
                    .await
                    .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            }
        };
        tokio::join!(again(), again(), again(), late);
        nodes.bucket.faults.shuffle(0);
        rounds(&nodes, LATE, 3).await;
        assert_eq!(sounds(&nodes).await, expected, "seed {seed}");
    }
}

fn is_late(name: &str) -> bool {
    name.contains("/clips/7-5-") || name.contains("/clips/7-6-")
}

/// The manifest and the files.
async fn sounds(nodes: &Nodes) -> Vec<(String, Bytes)> {
    let objects = nodes.objects().await;
    let is_made = |(name, _): &(String, Bytes)| {
        name.contains("/recording") || name.ends_with("/manifest.json")
    };
    objects.into_iter().filter(is_made).collect()
}
