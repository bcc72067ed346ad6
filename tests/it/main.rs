//! Tests from outside, one file per door they knock at.

mod google_access;
mod google_directory;
mod google_identity;
mod support;
