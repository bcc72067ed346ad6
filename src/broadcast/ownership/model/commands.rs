//! What a node's commands do to Redis.

use super::super::*;
use super::redis::{Clip, Fence, Fences};
use super::world::{Flagged, Streaming, World};

impl World {
    pub(super) fn execute(&mut self, at: usize, action: Action, fences: Fences) -> Input {
        match action {
            Action::Heartbeat(renewal) => {
                if self.nodes[at].streaming == Streaming::Live {
                    // The node's own heartbeat.
                    self.enrol(at, fences);
                }
                self.memory.heartbeat(at, renewal, fences)
            }
            Action::Claim(claim) => {
                self.nodes[at].claims_fresh = claim.is_fresh;
                self.enrol(at, fences);
                let before = self.memory.seen(at, fences);
                self.nodes[at].listener.claimed(&before);
                let answer = self.memory.claim(at, claim, &mut self.clock, fences);
                let is_over = !before.is_started() || before.is_here;
                if claim.is_fresh && is_over && matches!(answer, Input::Granted { .. }) {
                    // The livestream before has ended, perhaps here alone.
                    self.acknowledged.clear();
                }
                answer
            }
            Action::Publish { epoch, sequence } => self.publish(at, epoch, sequence, fences),
            Action::Republish { epoch, after } => {
                for clip in self.nodes[at].published.clone() {
                    if clip.1 > after && !self.memory.publish(epoch, &[clip], 0, fences) {
                        return Input::NotPublished(self.memory.seen(at, fences));
                    }
                }
                Input::Republished
            }
            Action::Release { epoch, is_ended } => self.memory.release(epoch, is_ended, fences),
            _ => Input::Unanswered,
        }
    }

    /// Other nodes will check the livestream; a flag that waited for this is set.
    fn enrol(&mut self, at: usize, fences: Fences) {
        self.memory.is_enrolled |= fences.have(Fence::Enrolment);
        let node = &mut self.nodes[at];
        if self.memory.is_enrolled {
            self.flag |= node.flagged == Flagged::Waits;
            node.flagged = Flagged::Together;
        }
    }

    fn publish(&mut self, at: usize, epoch: u64, sequence: u64, fences: Fences) -> Input {
        let node = &self.nodes[at];
        let after = node.published.last().map_or(0, |clip| clip.1);
        let clips: Vec<Clip> = (sequence..)
            .zip(&node.queue[..node.tried])
            .map(|(sequence, (number, came))| (epoch, sequence, *number, *came))
            .collect();
        let before = self.memory.history.len();
        if !self.memory.publish(epoch, &clips, after, fences) {
            return Input::NotPublished(self.memory.seen(at, fences));
        }
        self.log.extend(&self.memory.history[before..]);
        Input::Published {
            sequence: sequence + clips.len() as u64 - 1,
        }
    }
}
