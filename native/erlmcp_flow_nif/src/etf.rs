//! External term format: the check before the VM's own decoder.

use codec::etf::{self, Limits};
use rustler::{Binary, Encoder, Env, NewBinary, Term};

use crate::{atoms, schedule};

/// As documented in `erlmcp_flow_serializer`.
const DEFAULT_MAX_BYTES: u64 = 64 << 20;

fn limits(max_bytes: u64, max_depth: u32, safe: bool) -> Limits {
    // 0 stands for "no limit": a term without any container has the depth 0, and
    // the Erlang side lets no smaller limit than 1 through.
    Limits { max_bytes, max_depth: (max_depth > 0).then_some(max_depth), safe }
}

fn reason<'a>(env: Env<'a>, error: etf::Error) -> Term<'a> {
    match error {
        etf::Error::TooLarge => atoms::too_large().encode(env),
        etf::Error::TooDeep => atoms::too_deep().encode(env),
        etf::Error::Unsafe => atoms::r#unsafe().encode(env),
        etf::Error::Invalid(at) => (atoms::invalid(), at).encode(env),
    }
}

/// The check with the defaults of `decode/1`, for small inputs that are not
/// compressed (`dirty` when they are): fewer arguments
/// make a call that costs a tenth of the whole cheaper by a third.
#[rustler::nif]
fn etf_check_default<'a>(env: Env<'a>, input: Binary<'a>) -> Term<'a> {
    // Constants, so that the walk is compiled for them.
    const LIMITS: Limits = Limits { max_bytes: DEFAULT_MAX_BYTES, max_depth: None, safe: true };
    if etf::compressed(input.as_slice()).is_some() {
        return atoms::dirty().encode(env);
    }
    match etf::scan(input.as_slice(), &LIMITS) {
        Ok(_) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), reason(env, error)).encode(env),
    }
}

fn check<'a>(env: Env<'a>, input: Binary<'a>, limits: &Limits) -> Term<'a> {
    let result = match etf::compressed(input.as_slice()) {
        None => etf::scan(input.as_slice(), limits).map(|_| atoms::ok().encode(env)),
        Some((claimed, stream)) => {
            etf::inflate(claimed, stream, limits.max_bytes).and_then(|plain| {
                etf::scan(&plain, limits)?;
                let plain: Binary = NewBinary::from_slice(env, &plain).into();
                Ok((atoms::ok(), plain).encode(env))
            })
        }
    };
    result.unwrap_or_else(|error| (atoms::error(), reason(env, error)).encode(env))
}

fn check_short<'a>(env: Env<'a>, input: Binary<'a>, limits: &Limits) -> Term<'a> {
    match etf::compressed(input.as_slice()) {
        Some((claimed, _))
            if (schedule::NORMAL_INFLATE..=limits.max_bytes).contains(&claimed.into()) =>
        {
            atoms::dirty().encode(env)
        }
        _ => check(env, input, limits),
    }
}

/// `ok` when the VM may decode the input, `{ok, Plain}` when it is compressed
/// and the VM may decode `Plain`, `dirty` when it inflates to too much for here.
#[rustler::nif]
fn etf_check<'a>(
    env: Env<'a>,
    input: Binary<'a>,
    max_bytes: u64,
    max_depth: u32,
    safe: bool,
) -> Term<'a> {
    check_short(env, input, &limits(max_bytes, max_depth, safe))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn etf_check_dirty<'a>(
    env: Env<'a>,
    input: Binary<'a>,
    max_bytes: u64,
    max_depth: u32,
    safe: bool,
) -> Term<'a> {
    check(env, input, &limits(max_bytes, max_depth, safe))
}

/// Why the VM refused checked bytes.
pub(crate) enum Why {
    UnknownAtom,
    Invalid(usize),
}

/// Each leaf is offered to the VM by itself; when all pass, the fault lies in a
/// container (equal keys in a map).
pub(crate) fn why(env: Env<'_>, bytes: &[u8], safe: bool) -> Why {
    let mut found = None;
    let mut single = Vec::new();
    // Checked bytes: the walk itself cannot fail.
    let _ = etf::leaves(bytes, &mut |start, end| {
        let leaf = &bytes[start..end];
        if found.is_some() {
            return;
        }
        let is_atom = etf::has_atom_tag(leaf);
        if is_atom && !etf::is_atom(leaf) {
            found = Some(Why::Invalid(start));
        } else if safe {
            single.clear();
            single.push(etf::VERSION);
            single.extend_from_slice(leaf);
            if env.binary_to_term(&single).is_none() {
                found = Some(if is_atom { Why::UnknownAtom } else { Why::Invalid(start) });
            }
        }
    });
    found.unwrap_or(Why::Invalid(1))
}

fn why_term<'a>(env: Env<'a>, input: Binary<'a>, safe: bool) -> Term<'a> {
    match why(env, input.as_slice(), safe) {
        Why::UnknownAtom => atoms::unknown_atom().encode(env),
        Why::Invalid(at) => reason(env, etf::Error::Invalid(at)),
    }
}

#[rustler::nif]
fn etf_why<'a>(env: Env<'a>, input: Binary<'a>, safe: bool) -> Term<'a> {
    why_term(env, input, safe)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn etf_why_dirty<'a>(env: Env<'a>, input: Binary<'a>, safe: bool) -> Term<'a> {
    why_term(env, input, safe)
}
