// What is wrong with an .m4a for the parser of GPAC's authors, and what its tables say that is not so: a line each.
//
//   node strict.js FILE

import { readFileSync } from "node:fs";
import { createFile, DataStream, Log } from "mp4box";

const wrong = [];
for (const level of ["warn", "error"]) {
  Log[level] = (module, text) => wrong.push(`${level}: ${module}: ${text}`);
}
const expect = (name, is, should) => {
  if (is !== should) wrong.push(`${name} is ${is}, not ${should}`);
};

const bytes = readFileSync(process.argv[2]);
const file = createFile(true);
file.onError = (module, text) => wrong.push(`${module}: ${text}`);
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
buffer.fileStart = 0;
file.appendBuffer(buffer, true);
file.flush();

expect("the order of boxes", file.boxes.map((box) => box.type).join(" "), "ftyp moov mdat");
let end = 0;
for (const box of file.boxes) {
  expect(`the start of ${box.type}`, box.start, end);
  end += box.size;
}
expect("the end of the last box", end, bytes.length);
// Written again from what was understood, a box is the same: nothing was passed over.
for (const box of file.boxes.filter((box) => box.type !== "mdat")) {
  const stream = new DataStream();
  const { start, size } = box;
  box.write(stream);
  const same = Buffer.from(stream.buffer, 0, stream.byteLength).equals(bytes.subarray(start, start + size));
  expect(`${box.type} written again`, same ? "the same" : "another", "the same");
}
const [track, ...others] = file.moov.traks;
expect("other tracks", others.length, 0);
const mdat = file.boxes.at(-1);
let [at, dts] = [mdat.start + mdat.hdr_size, 0];
for (const sample of track.samples) {
  expect(`the place of frame ${sample.number}`, sample.offset, at);
  expect(`the time of frame ${sample.number}`, sample.dts, dts);
  if (!(sample.size > 0 && sample.duration === 1024 && sample.is_sync)) wrong.push(`frame ${sample.number} is none`);
  at += sample.size;
  dts += sample.duration;
}
expect("the end of the frames", at, bytes.length);
expect("mdhd's duration", track.mdia.mdhd.duration, dts);
const [edit, ...edits] = track.edts.elst.entries;
expect("other edits", edits.length, 0);
expect("tkhd's duration", track.tkhd.duration, edit.segment_duration);
expect("mvhd's duration", file.moov.mvhd.duration, edit.segment_duration);
expect("what is heard lies within the frames", edit.media_time + edit.segment_duration <= dts, true);
console.log(wrong.slice(0, 20).join("\n"));
process.exitCode = wrong.length ? 1 : 0;
