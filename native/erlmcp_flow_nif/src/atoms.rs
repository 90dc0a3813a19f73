//! Every atom this library makes, in one place: none comes from input.
rustler::atoms! {
    ok,
    error,
    // compress
    detect, dictionary_needed, enomem, invalid, lz4, too_large, trailing_data,
    unknown_format, zlib, zstd,
    // serializer
    dirty, too_deep,
    unknown_atom,
    r#unsafe = "unsafe",
    // documents
    busy, etf, repeats, unsupported,
}
