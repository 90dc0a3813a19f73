//! Compression: binaries to binaries. `erlang/erlmcp_flow_compressor.erl` picks
//! between the normal NIFs and their dirty twins by size.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::OnceLock;
use std::time::Instant;

use codec::compress::{self, Algorithm, Error, Output};
use parking_lot::Mutex;
use rayon::ThreadPool;
use rustler::schedule::consume_timeslice;
use rustler::{Atom, Binary, Encoder, Env, NifResult, OwnedBinary, Term};

use crate::atoms;

/// An Erlang binary that is being written.
struct Written(OwnedBinary);

impl Output for Written {
    fn with_len(len: usize) -> Result<Self, Error> {
        // `OwnedBinary::new` ends the VM when there is no memory; growing from
        // nothing says so instead.
        let mut binary = OwnedBinary::new(0);
        if binary.realloc(len) {
            Ok(Written(binary))
        } else {
            Err(Error::OutOfMemory)
        }
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        Ok(Written(OwnedBinary::from_slice(bytes)))
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        self.0.as_mut_slice()
    }

    fn shrink(&mut self, len: usize) {
        if !self.0.realloc(len) {
            self.0 = OwnedBinary::from_slice(&self.0.as_slice()[..len]);
        }
    }
}

fn algorithm(name: Atom) -> NifResult<Algorithm> {
    if name == atoms::zlib() {
        Ok(Algorithm::Zlib)
    } else if name == atoms::lz4() {
        Ok(Algorithm::Lz4)
    } else if name == atoms::zstd() {
        Ok(Algorithm::Zstd)
    } else {
        Err(rustler::Error::BadArg)
    }
}

/// `detect` stands for the format that each input starts like.
fn algorithm_or_detect(name: Atom) -> NifResult<Option<Algorithm>> {
    if name == atoms::detect() {
        Ok(None)
    } else {
        algorithm(name).map(Some)
    }
}

fn reason(error: Error) -> Atom {
    match error {
        Error::TooLarge => atoms::too_large(),
        Error::Invalid => atoms::invalid(),
        Error::TrailingData => atoms::trailing_data(),
        Error::DictionaryNeeded => atoms::dictionary_needed(),
        Error::UnknownFormat => atoms::unknown_format(),
        Error::OutOfMemory => atoms::enomem(),
    }
}

fn answer<'a>(env: Env<'a>, result: Result<Written, Error>) -> Term<'a> {
    match result {
        Ok(Written(binary)) => (atoms::ok(), binary.release(env)).encode(env),
        Err(error) => (atoms::error(), reason(error)).encode(env),
    }
}

fn unpack(format: Option<Algorithm>, input: &[u8], max_bytes: usize) -> Result<Written, Error> {
    let format = match format {
        Some(format) => format,
        None => Algorithm::detect(input)?,
    };
    compress::decompress(format, input, max_bytes)
}

/// A number, or `default`.
fn level(term: Term) -> Option<u8> {
    term.decode().ok()
}

/// Accounts for the time that a normal NIF took, in hundredths of a
/// millisecond: what a small input costs depends on what is in it.
fn account<R>(env: Env, work: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let result = work();
    let percent = start.elapsed().as_micros() / 10;
    if percent > 0 {
        consume_timeslice(env, percent.min(100) as i32);
    }
    result
}

#[rustler::nif]
fn compress<'a>(
    env: Env<'a>,
    name: Atom,
    input: Binary,
    level_or_default: Term,
    max_out: usize,
) -> NifResult<Term<'a>> {
    let (format, level) = (algorithm(name)?, level(level_or_default));
    Ok(answer(env, account(env, || compress::compress(format, &input, level, max_out))))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn compress_dirty<'a>(
    env: Env<'a>,
    name: Atom,
    input: Binary,
    level_or_default: Term,
    max_out: usize,
) -> NifResult<Term<'a>> {
    let (format, level) = (algorithm(name)?, level(level_or_default));
    Ok(answer(env, compress::compress(format, &input, level, max_out)))
}

#[rustler::nif]
fn decompress<'a>(
    env: Env<'a>,
    name: Atom,
    input: Binary,
    max_bytes: usize,
) -> NifResult<Term<'a>> {
    let format = algorithm_or_detect(name)?;
    Ok(answer(env, account(env, || unpack(format, &input, max_bytes))))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn decompress_dirty<'a>(
    env: Env<'a>,
    name: Atom,
    input: Binary,
    max_bytes: usize,
) -> NifResult<Term<'a>> {
    Ok(answer(env, unpack(algorithm_or_detect(name)?, &input, max_bytes)))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn compress_batch<'a>(
    env: Env<'a>,
    name: Atom,
    inputs: Vec<Binary>,
    level_or_default: Term,
    parallel: bool,
) -> NifResult<Term<'a>> {
    let (format, level) = (algorithm(name)?, level(level_or_default));
    let work = |input: &[u8]| compress::compress(format, input, level, usize::MAX);
    Ok(answer_batch(env, each(&inputs, parallel, work)))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn decompress_batch<'a>(
    env: Env<'a>,
    name: Atom,
    inputs: Vec<Binary>,
    max_bytes: usize,
    parallel: bool,
) -> NifResult<Term<'a>> {
    let format = algorithm_or_detect(name)?;
    // The limit is one for the whole batch: many small bombs are a large one.
    let total = AtomicUsize::new(0);
    let work = |input: &[u8]| {
        let left = max_bytes.saturating_sub(total.load(Ordering::Relaxed));
        let result = unpack(format, input, left)?;
        let len = result.0.len();
        if total.fetch_add(len, Ordering::Relaxed).saturating_add(len) > max_bytes {
            return Err(Error::TooLarge);
        }
        Ok(result)
    };
    Ok(answer_batch(env, each(&inputs, parallel, work)))
}

fn answer_batch<'a>(env: Env<'a>, results: Vec<Result<Written, Error>>) -> Term<'a> {
    let mut binaries = Vec::with_capacity(results.len());
    for (index, result) in results.into_iter().enumerate() {
        match result {
            Ok(Written(binary)) => binaries.push(binary.release(env)),
            Err(error) => return (atoms::error(), (index + 1, reason(error))).encode(env),
        }
    }
    (atoms::ok(), binaries).encode(env)
}

/// The threads for batches: one less than the machine has cores, since the
/// calling dirty scheduler works along. Started by the first batch that is
/// large enough; `None` when the machine has one core or gives no threads.
fn pool() -> Option<&'static Mutex<ThreadPool>> {
    static POOL: OnceLock<Option<Mutex<ThreadPool>>> = OnceLock::new();
    POOL.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        if cores < 2 {
            return None;
        }
        rayon::ThreadPoolBuilder::new()
            .num_threads(cores - 1)
            .thread_name(|n| format!("erlmcp_flow_{n}"))
            .build()
            .ok()
            .map(Mutex::new)
    })
    .as_ref()
}

/// Runs `work` on each input, results in order of the inputs.
fn each<R: Send>(inputs: &[Binary], parallel: bool, work: impl Fn(&[u8]) -> R + Sync) -> Vec<R> {
    // The pool serves one batch at a time. Who finds it busy works alone: all
    // cores have work then, and waiting for a turn would be slower.
    let pool = if parallel { pool().and_then(Mutex::try_lock) } else { None };
    let Some(pool) = pool else {
        return inputs.iter().map(|input| work(input)).collect();
    };
    let slices: Vec<&[u8]> = inputs.iter().map(Binary::as_slice).collect();
    let next = AtomicUsize::new(0);
    let take = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            match slices.get(index) {
                Some(input) => done.push((index, work(input))),
                None => return done,
            }
        }
    };
    let helpers = pool.current_num_threads().min(slices.len().saturating_sub(1));
    let helped = Mutex::new(Vec::new());
    let mut done = Vec::new();
    pool.in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| {
                let part = take();
                helped.lock().extend(part);
            });
        }
        done = take();
    });
    done.extend(helped.into_inner());
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}
