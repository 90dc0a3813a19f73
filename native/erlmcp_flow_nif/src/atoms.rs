//! Every atom this library makes, in one place: none comes from input.
rustler::atoms! {
    ok,
    error,
    dirty,
    invalid,
    too_deep,
    too_large,
    unknown_atom,
    r#unsafe = "unsafe",
}
