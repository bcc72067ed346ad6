use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Message {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Close,
}

fn server_frame(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    let mut masked = Vec::new();
    write(&mut masked, Opcode::Binary, payload, [0; 4]);
    masked[0] = first;
    masked[1] &= 0x7f;
    let header = masked.len() - payload.len() - 4;
    out.extend_from_slice(&masked[..header]);
    out.extend_from_slice(payload);
}

fn encode(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    match message {
        Message::Text(text) => server_frame(&mut out, 0x81, text.as_bytes()),
        Message::Binary(bytes) => server_frame(&mut out, 0x82, bytes),
        Message::Ping(bytes) => server_frame(&mut out, 0x89, bytes),
        Message::Close => server_frame(&mut out, 0x88, &[]),
    }
    out
}

fn decode(reads: &[&[u8]]) -> Result<Vec<Message>, FrameError> {
    let mut reader = Reader::new();
    let (mut messages, mut binary) = (Vec::new(), Vec::new());
    for read in reads {
        reader.feed(read, |piece| match piece {
            Piece::Text(text) => messages.push(Message::Text(text.into())),
            Piece::Binary(bytes) => binary.extend_from_slice(bytes),
            Piece::BinaryEnd => messages.push(Message::Binary(std::mem::take(&mut binary))),
            Piece::Ping(bytes) => messages.push(Message::Ping(bytes.into())),
            Piece::Close => messages.push(Message::Close),
        })?;
    }
    Ok(messages)
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        ".{0,200}".prop_map(Message::Text),
        prop::collection::vec(any::<u8>(), 0..400).prop_map(Message::Binary),
        Just(Message::Binary(vec![7; 70_000])),
        prop::collection::vec(any::<u8>(), 0..125).prop_map(Message::Ping),
        Just(Message::Close),
    ]
}

proptest! {
    #[test]
    fn messages_are_independent_of_the_split(
        messages in prop::collection::vec(message(), 0..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(encode).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(stream.len());
        let mut reads = Vec::new();
        let mut from = 0;
        for cut in cuts {
            reads.push(&stream[from..cut]);
            from = cut;
        }
        prop_assert_eq!(decode(&reads), Ok(messages));
    }

    #[test]
    fn reader_survives_arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&[&bytes]);
    }
}

#[test]
fn fragments_around_a_ping_are_one_message() {
    let mut stream = Vec::new();
    server_frame(&mut stream, 0x02, b"one ");
    server_frame(&mut stream, 0x89, b"ping");
    server_frame(&mut stream, 0x80, b"two");
    assert_eq!(
        decode(&[&stream]),
        Ok(vec![
            Message::Ping(b"ping".to_vec()),
            Message::Binary(b"one two".to_vec())
        ])
    );
}

#[test]
fn masked_frame_is_refused() {
    let mut stream = Vec::new();
    write(&mut stream, Opcode::Text, b"x", [1, 2, 3, 4]);
    assert_eq!(decode(&[&stream]), Err(FrameError::Masked));
}

#[test]
fn client_frame_is_masked_with_its_key() {
    let mut frame = Vec::new();
    write(&mut frame, Opcode::Text, b"abcde", [1, 2, 3, 4]);
    assert_eq!(
        frame,
        [
            0x81,
            0x85,
            1,
            2,
            3,
            4,
            b'a' ^ 1,
            b'b' ^ 2,
            b'c' ^ 3,
            b'd' ^ 4,
            b'e' ^ 1
        ]
    );
}
