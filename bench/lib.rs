//! Input shared by the criterion benches: the MCP messages of `bench/data`.

use std::path::PathBuf;

/// Where the benchmark input lies: `ERLMCP_FLOW_DATA`, or `bench/data`.
pub fn data_dir() -> PathBuf {
    std::env::var_os("ERLMCP_FLOW_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data"))
}

/// The lines of `mcp_messages.jsonl` as bytes, one JSON object each.
pub fn message_lines() -> std::io::Result<Vec<Vec<u8>>> {
    let text = std::fs::read(data_dir().join("mcp_messages.jsonl"))?;
    Ok(text.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(<[u8]>::to_vec).collect())
}

/// The 174 KB schema document.
pub fn schema() -> std::io::Result<Vec<u8>> {
    std::fs::read(data_dir().join("mcp_schema.json"))
}
