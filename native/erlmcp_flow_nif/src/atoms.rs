//! Every atom this library makes, in one place: none comes from input.
rustler::atoms! {
    ok,
    error,
}
