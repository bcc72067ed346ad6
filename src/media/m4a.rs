//! AAC-LC in m4a and mp4 files, as phones record them.
//!
//! Only the boxes on the way to the sound's frames are read, and no box is read into another by the library: a file
//! cannot make it recurse. What else is in a file (pictures, names of songs, places) is skipped.

use bytes::Bytes;
use mp4_atom::{
    Atom, Co64, Decode as _, DecodeMaybe as _, Elst, Header, Mdhd, Mvhd, Stco, Stsc, StscEntry,
    Stsz, StszSamples, Stts, SttsEntry, esds,
};

use super::aac::{AacConfig, FRAME_SAMPLES};
use super::{Audio, Codec, MAX_FRAMES, Unplayable, adts};

/// The largest description of a decoder. Descriptors nest, so this bounds how deep.
const MAX_ESDS: usize = 256;

const DAMAGED: Unplayable = Unplayable::Damaged("its boxes are cut off or contradict each other");
const FRAGMENTED: Unplayable = Unplayable::Format("fragmented mp4");
const NOT_AAC: Unplayable = Unplayable::Format("mp4 without AAC");

/// The boxes at one level: kind and body. A last box that is cut off is left out.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let header = Header::decode_maybe(&mut rest).ok()??;
        let (body, after) = rest.split_at_checked(header.size.unwrap_or(rest.len()))?;
        rest = after;
        Some((header.kind.into(), body))
    })
}

/// The body of the first box at the end of this path.
fn find<'a>(mut body: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    for name in path {
        body = boxes(body).find(|(kind, _)| kind == *name)?.1;
    }
    Some(body)
}

/// The box at the end of this path.
fn decode<T: Atom>(body: &[u8], path: &[&[u8; 4]]) -> Result<Option<T>, Unplayable> {
    let Some(mut body) = find(body, path) else {
        return Ok(None);
    };
    T::decode_body(&mut body).map(Some).map_err(|_| DAMAGED)
}

fn required<T: Atom>(body: &[u8], path: &[&[u8; 4]]) -> Result<T, Unplayable> {
    decode(body, path)?.ok_or(DAMAGED)
}

/// Reads a clip that starts with `ftyp`.
pub(super) fn read(clip: &Bytes) -> Result<Audio, Unplayable> {
    let movie = find(clip, &[b"moov"]).ok_or(DAMAGED)?;
    let track = boxes(movie)
        .filter(|(kind, _)| kind == b"trak")
        .map(|(_, track)| track)
        .find(|track| is_sound(track))
        .ok_or(Unplayable::Format("mp4 without sound"))?;
    let media = find(track, &[b"mdia"]).ok_or(DAMAGED)?;
    let table = find(media, &[b"minf", b"stbl"]).ok_or(DAMAGED)?;
    let config = config(table)?;
    let frames = frames(clip, table)?;
    if frames.is_empty() {
        let fragmented = find(movie, &[b"mvex"]).is_some();
        return Err(if fragmented { FRAGMENTED } else { DAMAGED });
    }
    let (delay, padding) = silence(movie, track, table, config, frames.len())?;
    Ok(Audio {
        codec: Codec::Aac(config),
        frames,
        delay,
        padding,
    })
}

/// Whether the track's handler is that of sound.
fn is_sound(track: &[u8]) -> bool {
    find(track, &[b"mdia", b"hdlr"]).and_then(|body| body.get(8..12)) == Some(b"soun")
}

/// The coding, from the first sample description: an `esds` in `mp4a`, or in `mp4a` in `wave` (`QuickTime`).
fn config(table: &[u8]) -> Result<AacConfig, Unplayable> {
    let descriptions = find(table, &[b"stsd"]).and_then(|body| body.get(8..));
    let mut entry = find(descriptions.ok_or(DAMAGED)?, &[b"mp4a"]).ok_or(NOT_AAC)?;
    mp4_atom::Audio::decode(&mut entry).map_err(|_| DAMAGED)?;
    let mut description = find(entry, &[b"esds"])
        .or_else(|| find(entry, &[b"wave", b"esds"]))
        .filter(|body| body.len() <= MAX_ESDS)
        .ok_or(DAMAGED)?;
    let description = esds::Esds::decode_body(&mut description).map_err(|_| DAMAGED)?;
    let decoder = description.es_desc.dec_config;
    // MPEG-4 audio, or MPEG-2 AAC-LC.
    if ![0x40, 0x67].contains(&decoder.object_type_indication) {
        return Err(NOT_AAC);
    }
    let specific = decoder.dec_specific.ok_or(DAMAGED)?;
    AacConfig::from_specific_config(&specific.raw)
}

/// The frames, by the tables of their sizes, of chunks, and of frames in a chunk.
fn frames(clip: &Bytes, table: &[u8]) -> Result<Vec<Bytes>, Unplayable> {
    let sizes: Stsz = required(table, &[b"stsz"])?;
    let in_chunks: Stsc = required(table, &[b"stsc"])?;
    let chunks = match decode::<Stco>(table, &[b"stco"])? {
        Some(chunks) => chunks.entries.into_iter().map(u64::from).collect(),
        None => required::<Co64>(table, &[b"co64"])?.entries,
    };
    let sizes = match sizes.samples {
        StszSamples::Different { sizes } => sizes,
        StszSamples::Identical { count, .. } if count as usize > MAX_FRAMES => {
            return Err(Unplayable::TooLong);
        }
        StszSamples::Identical { count, size } => vec![size; count as usize],
    };
    if sizes.len() > MAX_FRAMES {
        return Err(Unplayable::TooLong);
    }
    // Frames that lie upon each other would make a small clip a large stream.
    if sizes.iter().map(|size| u64::from(*size)).sum::<u64>() > clip.len() as u64 {
        return Err(DAMAGED);
    }
    let mut frames = Vec::with_capacity(sizes.len());
    let mut sizes = sizes.into_iter().map(|size| size as usize);
    for (number, chunk) in (1..).zip(chunks) {
        let mut at = usize::try_from(chunk).map_err(|_| DAMAGED)?;
        let count = samples_in_chunk(&in_chunks.entries, number).ok_or(DAMAGED)?;
        for size in sizes.by_ref().take(count as usize) {
            if size == 0 || size > adts::MAX_PAYLOAD {
                return Err(Unplayable::Damaged("a frame has an impossible size"));
            }
            let end = at.checked_add(size).filter(|end| *end <= clip.len());
            let end = end.ok_or(Unplayable::Damaged("a frame lies outside of the file"))?;
            frames.push(clip.slice(at..end));
            at = end;
        }
    }
    if sizes.next().is_some() {
        return Err(DAMAGED);
    }
    Ok(frames)
}

/// The number of frames in a chunk: an entry holds until the next one.
fn samples_in_chunk(entries: &[StscEntry], chunk: u32) -> Option<u32> {
    let after = entries.partition_point(|entry| entry.first_chunk <= chunk);
    Some(entries[..after].last()?.samples_per_chunk)
}

/// The encoder's delay and the padding, in samples: from the edit list, otherwise from the last frame's duration.
fn silence(
    movie: &[u8],
    track: &[u8],
    table: &[u8],
    config: AacConfig,
    frames: usize,
) -> Result<(u32, u32), Unplayable> {
    let all = frames as u64 * u64::from(FRAME_SAMPLES);
    let rate = u64::from(config.sample_rate());
    let edits = decode::<Elst>(track, &[b"edts", b"elst"])?.unwrap_or_default();
    // An empty edit only delays the sound.
    let mut edits = edits.entries.into_iter().filter_map(|edit| {
        let start = edit.media_time?;
        Some((start, edit.segment_duration))
    });
    let Some((start, duration)) = edits.next() else {
        let times: Stts = required(table, &[b"stts"])?;
        return Ok((0, padding_of_last(&times.entries)));
    };
    if edits.next().is_some() {
        return Err(Unplayable::Format("mp4 with cuts in its edit list"));
    }
    let media_scale = required::<Mdhd>(track, &[b"mdia", b"mdhd"])?.timescale;
    let movie_scale = required::<Mvhd>(movie, &[b"mvhd"])?.timescale;
    let delay = rescale(start, rate, media_scale)?;
    let heard = match rescale(duration, rate, movie_scale)? {
        0 => all.saturating_sub(delay),
        heard => heard,
    };
    if delay >= all {
        return Err(Unplayable::Damaged("its edit list leaves nothing to hear"));
    }
    let padding = all.saturating_sub(delay).saturating_sub(heard);
    let samples = |count| u32::try_from(count).map_err(|_| DAMAGED);
    Ok((samples(delay)?, samples(padding)?))
}

/// A time in units of `rate` instead of `scale`.
fn rescale(time: u64, rate: u64, scale: u32) -> Result<u64, Unplayable> {
    let scaled = u128::from(time) * u128::from(rate);
    let scaled = scaled.checked_div(u128::from(scale)).ok_or(DAMAGED)?;
    u64::try_from(scaled).map_err(|_| DAMAGED)
}

/// The padding, if every frame has its full duration but a shorter last one. Other durations are a recorder's clock.
fn padding_of_last(times: &[SttsEntry]) -> u32 {
    match times {
        [full, last]
            if full.sample_delta == FRAME_SAMPLES
                && last.sample_count == 1
                && last.sample_delta > 0 =>
        {
            FRAME_SAMPLES.saturating_sub(last.sample_delta)
        }
        _ => 0,
    }
}
