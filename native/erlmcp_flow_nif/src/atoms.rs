//! Every atom this library makes, in one place: none comes from input.
rustler::atoms! {
    ok,
    error,
    // cache
    check,
    dirty,
    miss,
    // outbox
    empty,
    erlmcp_flow_batch,
    erlmcp_flow_lane,
    erlmcp_flow_wake,
    in_hand,
    infinity,
    more,
    no_sink,
    noproc,
    not_running,
    overloaded,
    remote,
    stuck,
    undelivered,
    unknown,
}
