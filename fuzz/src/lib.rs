//! What the fuzz targets share: each makes its own seeds, when run.sh asks for
//! them with `FUZZ_SEEDS=DIRECTORY`, from the messages in bench/data.

pub mod document;
pub mod terms;

use std::path::{Path, PathBuf};

use codec::document::{Decode, Repeats};

/// Called by a target before it starts to fuzz. With `FUZZ_SEEDS` set it writes
/// the seeds there and ends the program.
pub fn seeds<S: AsRef<[u8]>>(make: impl FnOnce() -> Vec<S>) {
    let Some(directory) = std::env::var_os("FUZZ_SEEDS") else { return };
    let directory = PathBuf::from(directory);
    let result = std::fs::create_dir_all(&directory).and_then(|()| {
        make().iter().enumerate().try_for_each(|(index, seed)| {
            std::fs::write(directory.join(format!("seed-{index:03}")), seed)
        })
    });
    match result {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{}: {error}", directory.display());
            std::process::exit(1);
        }
    }
}

/// The JSON messages, one a line; none when the data is not there.
pub fn messages() -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/data/mcp_messages.jsonl");
    std::fs::read(path)
        .unwrap_or_default()
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// The messages in external term format.
pub fn documents() -> Vec<Vec<u8>> {
    let mut decoder = codec::json::Decoder::default();
    messages()
        .iter()
        .filter_map(|text| {
            let document = decoder.decode(text, &document::GENEROUS, Repeats::Resolve).ok()?;
            Some(document.etf.to_vec())
        })
        .collect()
}

/// Some messages, a longer text, runs and nothing: content for compressors.
pub fn contents() -> Vec<Vec<u8>> {
    let messages = messages();
    let mut contents: Vec<Vec<u8>> = messages.iter().step_by(5).cloned().collect();
    contents.push(messages.concat().into_iter().take(20_000).collect());
    contents.extend([vec![], vec![0], vec![0; 100_000], (0..=255).cycle().take(3000).collect()]);
    contents
}

/// The first two bytes of an input choose the limit on the result, so that the
/// edge between enough and too little is found.
pub fn limit(data: &[u8]) -> Option<(usize, &[u8])> {
    let (head, rest) = data.split_first_chunk()?;
    let limit = usize::from(u16::from_le_bytes(*head));
    // One in sixteen is generous.
    Some((if limit % 16 == 0 { limit << 8 } else { limit }, rest))
}

/// A seed for a target that reads a limit first.
pub fn with_limit(limit: u16, data: &[u8]) -> Vec<u8> {
    [&limit.to_le_bytes(), data].concat()
}
