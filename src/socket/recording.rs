//! The event `recording`: a streamer asks how its livestream is recorded, pauses the recording, and goes on.
//!
//! **Invariant**: a pause holds from the upload behind it on; it is refused to no streamer where livestreams are recorded.
//! A wish to record needs the document's consent, where that is configured.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

use super::Sockets;
use super::outgoing::Callback;
use super::wire::{self, Ack, Refusal};
use crate::broadcast::{Epoch, LivestreamId, UserId};
use crate::directory::Freshness;
use crate::limits::whole_millis;
use crate::relay::{NotRecorded, RecordingChange};
use crate::transport::{Backpressure, Session};

/// Wishes to record of a streamer, in a minute.
pub(super) const PER_MINUTE: u32 = 30;

/// The argument of `recording`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing, or null: a question.
    Ask,
    /// False.
    Pause,
    /// True.
    Record,
}

impl<'de> Deserialize<'de> for Wish {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Arguments;

        impl<'de> Visitor<'de> for Arguments {
            type Value = Wish;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or nothing")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Wish, A::Error> {
                let wish = match seq.next_element::<Option<bool>>()?.flatten() {
                    None => Wish::Ask,
                    Some(false) => Wish::Pause,
                    Some(true) => Wish::Record,
                };
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(wish),
                    Some(_) => Err(A::Error::invalid_length(2, &self)),
                }
            }
        }

        // A tuple, so that the library hands over all arguments.
        deserializer.deserialize_tuple(2, Arguments)
    }
}

/// What a streamer's socket needs for its wishes.
#[derive(Clone)]
pub(super) struct Wishing {
    pub(super) livestream: LivestreamId,
    pub(super) user: UserId,
    pub(super) epoch: Epoch,
    pub(super) address: IpAddr,
    pub(super) session: Arc<Session>,
    /// The document is read for one wish at a time.
    pub(super) reading: Arc<AtomicBool>,
}

/// What is left to be done for an answer.
enum Next {
    Answer(Ack),
    Keep(RecordingChange),
    ReadDocument {
        streamer: Wishing,
        /// A pause that the streamer wishes meanwhile holds.
        pauses: u64,
    },
}

impl Sockets {
    /// Applies a wish at once, so in the order of the streamer's events, and answers it in the returned future.
    pub(super) fn record(
        self,
        streamer: Option<Wishing>,
        wish: Option<Wish>,
        callback: Callback,
    ) -> impl Future<Output = ()> + Send {
        let session = streamer.as_ref().map(|it| it.session.clone());
        let next = streamer.map(|it| self.apply(it, wish));
        let pressure = move |change: fn(&Backpressure, u64)| {
            if let Some(session) = &session {
                change(&session.activity.pressure, 1);
            }
        };
        pressure(Backpressure::owe);
        // The socket's own state is not in it: its drop is the loss of its transport.
        async move {
            let ack = match next {
                None => Ack::error(wire::NOT_ON_AIR),
                Some(Next::Answer(ack)) => ack,
                Some(Next::Keep(change)) => kept(change).await,
                Some(Next::ReadDocument { streamer, pauses }) => {
                    let ack = self.ask_document(&streamer, pauses).await;
                    streamer.reading.store(false, Ordering::SeqCst);
                    ack
                }
            };
            self.answer(callback, &ack);
            pressure(Backpressure::settle);
        }
    }

    fn apply(&self, streamer: Wishing, wish: Option<Wish>) -> Next {
        let Wishing {
            livestream, epoch, ..
        } = &streamer;
        let relay = &self.0.relay;
        let state = match relay.recording(livestream, *epoch) {
            Ok(state) => state,
            Err(error) => return Next::Answer(refused(error)),
        };
        let pauses = relay.recording_pauses(livestream);
        let change = match wish {
            None => return Next::Answer(Ack::error(wire::BAD_RECORDING)),
            Some(Wish::Ask) => return Next::Answer(Ack::recording(state, None)),
            Some(Wish::Record) if state.is_on() => {
                relay.resume_recording(livestream, *epoch, pauses)
            }
            Some(Wish::Pause) => relay.pause_recording(livestream, *epoch),
            Some(Wish::Record) => {
                if let Err(exceeded) = self.0.recordings.take(&streamer.user) {
                    let millis = whole_millis(exceeded.retry_after);
                    return Next::Answer(Ack {
                        retry_after_ms: Some(millis),
                        ..Ack::error(&wire::recording_limited(millis))
                    });
                }
                if relay.asks_document_for_recording() {
                    if streamer.reading.swap(true, Ordering::SeqCst) {
                        return Next::Answer(Ack::error(wire::RECORDING_BUSY));
                    }
                    return Next::ReadDocument { streamer, pauses };
                }
                relay.resume_recording(livestream, *epoch, pauses)
            }
        };
        change.map_or_else(|error| Next::Answer(refused(error)), Next::Keep)
    }

    /// Reads the livestream's document, and records if that asks for it and the streamer has said no other pause.
    async fn ask_document(&self, streamer: &Wishing, pauses: u64) -> Ack {
        let Wishing {
            livestream,
            user,
            epoch,
            address,
            ..
        } = streamer;
        let pending = match self.0.lookup_limits.begin(user, *address) {
            Ok(pending) => pending,
            Err(refusal) => return Ack::error(&refusal.text()),
        };
        let found = self.0.directory.find(livestream, Freshness::Fresh).await;
        let Ok(entry) = found else {
            pending.excuse();
            return Ack::error(&Refusal::Unavailable.text());
        };
        let entry = entry.filter(|entry| entry.artist == *user);
        if entry.is_some() {
            pending.excuse();
        }
        let record = entry.is_some_and(|entry| entry.record);
        let relay = &self.0.relay;
        relay.allow_recording(livestream, *epoch, record);
        if !record {
            return Ack::error(wire::NO_RECORD);
        }
        match relay.resume_recording(livestream, *epoch, pauses) {
            Ok(change) => kept(change).await,
            Err(error) => refused(error),
        }
    }
}

fn refused(error: NotRecorded) -> Ack {
    Ack::error(match error {
        NotRecorded::Off => wire::NOTHING_RECORDED,
        NotRecorded::StaleEpoch => wire::NOT_ON_AIR,
        NotRecorded::NotAllowed => wire::NO_RECORD,
    })
}

async fn kept(change: RecordingChange) -> Ack {
    let state = change.state;
    // It holds here all the same, and the streamer is to say it again.
    let error = (!change.is_kept().await).then(|| Refusal::Unavailable.text());
    Ack::recording(state, error)
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, from_value, json};

    use super::*;

    #[test]
    fn wish_is_a_boolean_or_nothing() {
        for (text, wish) in [
            ("[]", Wish::Ask),
            ("[null]", Wish::Ask),
            ("[false]", Wish::Pause),
            ("[true]", Wish::Record),
        ] {
            assert_eq!(from_str::<Wish>(text).expect("a wish"), wish, "{text}");
        }
        for bad in [json!(["true"]), json!([0]), json!([{}]), json!([true, 1])] {
            assert!(from_value::<Wish>(bad.clone()).is_err(), "{bad}");
        }
    }
}
