//! Queue of log lines for a reader that may stop reading: bounded, with a separate thread that writes.
//!
//! **Invariant**: [`Queue::push`] never waits for the reader. The queue has at most one line above its bound.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use prometheus::IntCounter;

/// Cheap to clone. All handles feed the same thread, which lives as long as the process.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Notified when a line was queued, and when the last one was written.
    changed: Condvar,
    max_bytes: usize,
    dropped: IntCounter,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    writing: bool,
    /// Lines dropped since the last report.
    unreported: u64,
}

impl Queue {
    /// `report` is called with the number of dropped lines as soon as lines are written again.
    pub(super) fn start(
        max_bytes: usize,
        dropped: IntCounter,
        write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
        report: impl Fn(u64) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            max_bytes,
            dropped,
        }));
        let writer = queue.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || writer.run(write, report))?;
        Ok(queue)
    }

    /// Queues a line; drops and counts it if the queue is full.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.state();
        if state.bytes >= self.0.max_bytes {
            self.drop_line(&mut state);
            return;
        }
        state.bytes += line.capacity();
        state.lines.push_back(line);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until all lines are written, but no longer than `timeout`.
    pub(super) fn flush(&self, timeout: Duration) {
        let busy = |state: &mut State| state.writing || !state.lines.is_empty();
        // In time or not, the caller continues.
        let _late = (self.0.changed).wait_while_for(&mut self.state(), busy, timeout);
    }

    fn run(&self, mut write: impl FnMut(&[u8]) -> io::Result<()>, report: impl Fn(u64)) -> ! {
        loop {
            let line = self.next();
            // The failure cannot be logged, since the log itself fails.
            let failed = write(&line).is_err();
            let unreported = self.written(failed);
            if unreported > 0 {
                report(unreported);
            }
        }
    }

    fn next(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.capacity();
                state.writing = true;
                return line;
            }
            self.0.changed.wait(&mut state);
        }
    }

    /// Returns the number of dropped lines if it is time to report them: the reader keeps up again.
    fn written(&self, failed: bool) -> u64 {
        let mut state = self.state();
        state.writing = false;
        if failed {
            // Not reported before a line is written: if the report failed too, another one would follow.
            self.drop_line(&mut state);
        }
        let drained = state.lines.is_empty();
        if drained {
            self.0.changed.notify_all();
        }
        if failed || !drained {
            return 0;
        }
        std::mem::take(&mut state.unreported)
    }

    fn drop_line(&self, state: &mut State) {
        state.unreported += 1;
        self.0.dropped.inc();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }
}

/// One write is one line: `fmt`'s layer writes an event as a whole.
impl io::Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
