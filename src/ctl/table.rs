//! Answers of the API as tables for people.
//!
//! **Invariant**: no control character of an answer reaches the terminal.

use std::fmt::Write as _;

use serde_json::Value;

/// The text of a value; `-` for none.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars()
        .map(|letter| if letter.is_control() { '�' } else { letter })
        .collect()
}

/// Rows of these fields, in columns under these titles.
fn table(rows: &Value, columns: &[(&str, &str)]) -> String {
    let titles = columns.iter().map(|(title, _)| (*title).to_owned());
    let mut lines = vec![titles.collect::<Vec<String>>()];
    for row in rows.as_array().into_iter().flatten() {
        let cells = columns.iter().map(|(_, field)| cell(&row[*field]));
        lines.push(cells.collect());
    }
    let width = |column: usize| {
        let widths = lines.iter().map(|line| line[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded = line.iter().zip(&widths);
        let padded: Vec<String> = padded
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        writeln!(text, "{}", padded.join("  ").trim_end()).ok();
    }
    text
}

const LIVESTREAM: [(&str, &str); 9] = [
    ("LIVESTREAM", "id"),
    ("STATE", "state"),
    ("STREAMER", "streamer"),
    ("NODE", "node"),
    ("SINCE", "since"),
    ("LISTENERS", "listeners"),
    ("CLIPS", "clips"),
    ("DROPPED", "clips_dropped"),
    ("BYTES/S", "bytes_per_second"),
];

pub(super) fn livestreams(answer: &Value) -> String {
    let mut text = table(&answer["livestreams"], &LIVESTREAM);
    let shown = answer["livestreams"].as_array().map_or(0, Vec::len);
    let total = answer["total"].as_u64().unwrap_or(0);
    if total > shown as u64 {
        writeln!(text, "{shown} of {total}: see --offset and --limit").ok();
    }
    text.push_str(&unanswered(answer));
    text
}

pub(super) fn details(answer: &Value) -> String {
    let mut text = String::new();
    let fields = answer.as_object().into_iter().flatten();
    let is_field = |field: &str| !["sockets", "unanswered"].contains(&field);
    for (field, value) in fields.filter(|(field, _)| is_field(field)) {
        writeln!(text, "{:17} {}", field.replace('_', " "), cell(value)).ok();
    }
    let columns = [
        ("SOCKET", "id"),
        ("ROLE", "role"),
        ("USER", "user"),
        ("NODE", "node"),
        ("TRANSPORT", "transport"),
        ("SINCE", "since"),
        ("DROPPED", "clips_dropped"),
        ("LAG MS", "lag_ms"),
    ];
    let sockets = table(&answer["sockets"], &columns);
    format!("{text}\n{sockets}{}", unanswered(answer))
}

/// The nodes that are missing in an answer.
fn unanswered(answer: &Value) -> String {
    let nodes = answer["unanswered"].as_array().into_iter().flatten();
    let nodes: Vec<String> = nodes.map(cell).collect();
    if nodes.is_empty() {
        return String::new();
    }
    format!("no answer from: {}\n", nodes.join(", "))
}

pub(super) fn drain(answer: &Value) -> String {
    let (node, field) = (cell(&answer["node"]), |name| cell(&answer[name]));
    if answer["draining"] == false {
        return format!("{node} admits clients\n");
    }
    format!(
        "{node} drains: {} streamers and {} listeners are left, for {} s\n",
        field("streamers"),
        field("listeners"),
        field("seconds_left")
    )
}

pub(super) fn kicked(answer: &Value) -> String {
    let users = answer["users"].as_array().into_iter().flatten();
    let users: Vec<String> = users.map(cell).collect();
    format!("disconnected: {}\n", users.join(", "))
}

pub(super) fn banned(answer: &Value) -> String {
    let until = match &answer["until"] {
        Value::Null => "until it is removed".to_owned(),
        until => format!("until {}", cell(until)),
    };
    format!(
        "banned {} {} {until}\n",
        cell(&answer["kind"]),
        cell(&answer["id"])
    )
}

pub(super) fn bans(answer: &Value) -> String {
    let columns = [
        ("KIND", "kind"),
        ("ID", "id"),
        ("UNTIL", "until"),
        ("REASON", "reason"),
    ];
    table(&answer["bans"], &columns)
}

pub(super) fn recordings(answer: &Value) -> String {
    let columns = [
        ("RECORDING", "id"),
        ("LIVESTREAM", "livestream"),
        ("STATE", "state"),
        ("STARTED", "started"),
        ("SECONDS", "seconds"),
        ("BYTES", "bytes"),
        ("MISSING", "missing"),
        ("GAPS", "gaps"),
    ];
    table(&answer["recordings"], &columns)
}

pub(super) fn recording(answer: &Value) -> String {
    let mut text = String::new();
    let fields = answer.as_object().into_iter().flatten();
    let is_table = |field: &str| ["manifest", "podcasts"].contains(&field);
    for (field, value) in fields.filter(|(field, _)| !is_table(field)) {
        writeln!(text, "{field:10} {}", cell(value)).ok();
    }
    let manifest = &answer["manifest"];
    let parts: [(&Value, &[(&str, &str)]); 5] = [
        (
            &manifest["files"],
            &[("FILE", "name"), ("SECONDS", "seconds"), ("BYTES", "bytes")],
        ),
        (
            &answer["podcasts"],
            &[("REGISTERED FILE", "file"), ("UPLOAD", "upload")],
        ),
        (
            &manifest["gaps"],
            &[
                ("GAP FROM", "from"),
                ("UNTIL", "until"),
                ("REASON", "reason"),
            ],
        ),
        (
            &manifest["missing"],
            &[("MISSING CLIP", "sequence"), ("REASON", "reason")],
        ),
        (
            &manifest["left_out"],
            &[("CLIP IN NO FILE", "name"), ("REASON", "reason")],
        ),
    ];
    for (rows, columns) in parts {
        if rows.as_array().is_some_and(|rows| !rows.is_empty()) {
            text.push('\n');
            text.push_str(&table(rows, columns));
        }
    }
    text
}

pub(super) fn nodes(answer: &Value) -> String {
    let columns = [
        ("NODE", "name"),
        ("ANSWERS", "answers"),
        ("VERSION", "version"),
        ("READY", "ready"),
        ("DRAINING", "draining"),
        ("LIVESTREAMS", "livestreams"),
        ("LISTENERS", "listeners"),
    ];
    table(&answer["nodes"], &columns)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let answer = json!({ "bans": [
            { "kind": "user", "id": "a-long-id", "until": null, "reason": "noise" },
            { "kind": "livestream", "id": "x\u{1b}[31m", "until": null, "reason": "" },
        ]});
        let expected = "KIND        ID         UNTIL  REASON\n\
                        user        a-long-id  -      noise\n\
                        livestream  x�[31m     -\n";
        assert_eq!(bans(&answer), expected);
    }

    #[test]
    fn missing_nodes_are_named() {
        let answer = json!({ "livestreams": [], "total": 0, "unanswered": ["b-1", "c-2"] });
        assert!(livestreams(&answer).ends_with("no answer from: b-1, c-2\n"));
        assert!(details(&answer).ends_with("no answer from: b-1, c-2\n"));
    }

    #[test]
    fn podcasts_of_a_recording_are_shown() {
        let podcasts = json!([{ "upload": "8c1f0a96", "file": "recording.m4a" }]);
        let shown = recording(&json!({ "id": "one", "manifest": null, "podcasts": podcasts }));
        let expected = "id         one\n\n\
                        REGISTERED FILE  UPLOAD\n\
                        recording.m4a    8c1f0a96\n";
        assert_eq!(shown, expected);
        let none = recording(&json!({ "id": "one", "manifest": null, "podcasts": [] }));
        assert_eq!(none, "id         one\n");
    }

    #[test]
    fn longer_list_says_so() {
        let answer = json!({ "livestreams": [{ "id": "show" }], "total": 3 });
        assert!(livestreams(&answer).ends_with("1 of 3: see --offset and --limit\n"));
    }
}
