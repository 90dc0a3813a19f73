//! Every atom this library makes, in one place: none comes from input.
rustler::atoms! {
    ok,
    error,
    // documents
    busy,
    etf,
    invalid,
    repeats,
    too_deep,
    too_large,
    unknown_atom,
    unsupported,
}
