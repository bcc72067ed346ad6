//! The arguments of `upload`: a clip, and optionally what its streamer says of it.
//!
//! **Invariant**: whatever the arguments are, reading them keeps no more than the clip and a short id.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::wire;
use crate::broadcast::ClipId;

/// The arguments of `upload`.
#[derive(Debug)]
pub(super) struct UploadArguments {
    pub(super) clip: Bytes,
    /// None without a second argument.
    pub(super) options: Option<RawOptions>,
}

/// The second argument of `upload`, unchecked: the last value of each key.
#[derive(Debug, Default)]
pub(super) struct RawOptions {
    id: Value,
    captured_at: Value,
}

/// The second argument of `upload`.
#[derive(Debug, PartialEq)]
pub(super) struct UploadOptions {
    pub(super) id: ClipId,
    /// When the recording of the clip began, by the streamer's clock: milliseconds since the Unix epoch.
    pub(super) captured_at: Option<f64>,
}

impl RawOptions {
    /// The options, or what is to be told to the streamer.
    pub(super) fn check(self) -> Result<UploadOptions, &'static str> {
        let captured_at = match self.captured_at {
            Value::Absent => None,
            Value::Number(millis) if millis.is_finite() && millis >= 0.0 => Some(millis),
            _ => return Err(wire::BAD_UPLOAD_OPTIONS),
        };
        match self.id {
            Value::Id(id) => Ok(UploadOptions { id, captured_at }),
            _ => Err(wire::BAD_UPLOAD_OPTIONS),
        }
    }
}

/// A value of an option.
#[derive(Debug, Default)]
enum Value {
    #[default]
    Absent,
    Id(ClipId),
    Number(f64),
    Other,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Key {
    Id,
    CapturedAt,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for UploadArguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Arguments;

        impl<'de> Visitor<'de> for Arguments {
            type Value = UploadArguments;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a clip, and optionally its options")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<UploadArguments, A::Error> {
                let clip = seq.next_element()?;
                let clip = clip.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let options = seq.next_element()?;
                if options.is_some() && seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::invalid_length(3, &self));
                }
                Ok(UploadArguments { clip, options })
            }
        }

        // A tuple, so that the library hands over all arguments.
        deserializer.deserialize_tuple(2, Arguments)
    }
}

impl<'de> Deserialize<'de> for RawOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Options;

        impl<'de> Visitor<'de> for Options {
            type Value = RawOptions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the options of an upload")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawOptions, A::Error> {
                let mut options = RawOptions::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Id => options.id = map.next_value()?,
                        Key::CapturedAt => options.captured_at = map.next_value()?,
                        Key::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(options)
            }
        }

        deserializer.deserialize_map(Options)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;

        impl<'de> Visitor<'de> for One {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(ClipId::new(text).map_or(Value::Other, Value::Id))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            #[expect(
                clippy::cast_precision_loss,
                reason = "a time that nothing is computed with"
            )]
            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Number(number as f64))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Value::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Other)
            }
        }

        deserializer.deserialize_any(One)
    }
}
