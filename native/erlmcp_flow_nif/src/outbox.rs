//! The batch buffer: `native/outbox` over Erlang terms (`terms::parcel`).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Instant;

use outbox::{Due, LaneId, Limits, Outbox, Outcome, Refused, To, Wake};
use parking_lot::{Mutex, RwLock};
use rustler::{Atom, Encoder, Env, LocalPid, NifResult, Resource, ResourceArc, Term};
use terms::parcel::{Parcel, Part};

use crate::registry::outbox_registry::{self as registry, Name};
use crate::{atoms, schedule};

/// A batch of the outbox.
struct Pack(Parcel);

impl outbox::Batch for Pack {
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Local destinations, and the sink; further lanes are one a node.
const LOCAL: LaneId = 0;
const SINK: LaneId = 1;

pub struct Instance {
    outbox: Outbox<Pack>,
    /// Local batches are sent from native code; false when the lane's process has
    /// to do it (`deliver => each`, acknowledged delivery).
    direct: bool,
    /// Messages without a destination have somewhere to go.
    sink: bool,
    drainers: RwLock<Vec<Option<LocalPid>>>,
    /// Starts the drainers of lanes that have none.
    keeper: RwLock<Option<LocalPid>>,
    nodes: RwLock<Vec<(Atom, LaneId)>>,
    undelivered: Mutex<Undelivered>,
    spare: Mutex<Vec<Parcel>>,
    epoch: Instant,
    /// Polls since the last full batch.
    quiet: AtomicU32,
}

/// The process that calls the callback, and how many messages it has.
#[derive(Default)]
struct Undelivered {
    pid: Option<LocalPid>,
    messages: u64,
}

/// The instance ends with the last reference to this, which its supervisor holds.
pub struct Owner {
    names: Vec<Name>,
    instance: Arc<Instance>,
}

#[rustler::resource_impl]
impl Resource for Owner {}

// A panic half way leaves counters that may be off by one batch, no broken state:
// `parking_lot` locks are released while unwinding.
impl std::panic::RefUnwindSafe for Owner {}

impl Drop for Owner {
    fn drop(&mut self) {
        registry::remove(&self.names, &self.instance);
        let instance = Arc::clone(&self.instance);
        // Freeing many messages takes a while, and this is a scheduler.
        if instance.outbox.pending() > schedule::OUTBOX_DROP_HERE {
            std::thread::spawn(move || instance.outbox.close());
        } else {
            instance.outbox.close();
        }
    }
}

impl Instance {
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    fn wake(&self, env: Env, wake: Wake) {
        let Some(lane) = wake else { return };
        // To a process that is just gone this does nothing; the one that takes its
        // place looks at its lane first thing.
        let drainer = self.drainers.read().get(lane as usize).copied().flatten();
        if let Some(pid) = drainer {
            let _ = env.send(&pid, atoms::erlmcp_flow_wake());
        } else if let Some(pid) = *self.keeper.read() {
            let _ = env.send(&pid, (atoms::erlmcp_flow_lane(), lane));
        }
    }

    fn parcel(&self, dest: Term) -> Parcel {
        let spare = self.spare.lock().pop();
        match spare {
            Some(parcel) => parcel.reuse(dest),
            None => Parcel::new(dest),
        }
    }

    fn recycle(&self, parcel: Parcel) {
        let mut spare = self.spare.lock();
        if parcel.is_empty() && spare.len() < schedule::OUTBOX_SPARE_PARCELS {
            spare.push(parcel);
        }
    }

    #[inline]
    fn push(&self, env: Env, lane: LaneId, dest: Term, message: Term) -> Atom {
        if lane == SINK && !self.sink {
            return atoms::no_sink();
        }
        let pushed = self.outbox.push(
            to(dest, lane),
            || self.now(),
            |pack| pack.0.is_for(dest),
            || Pack(self.parcel(dest)),
            |pack| pack.0.push(message),
        );
        self.pushed(env, pushed)
    }

    fn push_open(&self, env: Env, dest: Term, message: Term) -> Atom {
        let same = |pack: &Pack| pack.0.is_for(dest);
        let put = |pack: &mut Pack| pack.0.push(message);
        match self.outbox.push_open(hash_boxed(dest), same, put) {
            Some(pushed) => self.pushed(env, pushed),
            None => atoms::remote(),
        }
    }

    fn push_list(&self, env: Env, lane: LaneId, dest: Term, list: Term, n: usize) -> Atom {
        if lane == SINK && !self.sink {
            return atoms::no_sink();
        }
        let pushed = self.outbox.push_list(
            to(dest, lane),
            n,
            || self.now(),
            |pack| pack.0.is_for(dest),
            || Pack(self.parcel(dest)),
            |pack| pack.0.push_list(list),
        );
        self.pushed(env, pushed)
    }

    #[inline]
    fn pushed(&self, env: Env, pushed: Result<Wake, Refused>) -> Atom {
        match pushed {
            Ok(None) => rustler::types::atom::ok(),
            Ok(wake) => {
                self.wake(env, wake);
                let _ = rustler::schedule::consume_timeslice(env, 1);
                rustler::types::atom::ok()
            }
            Err(Refused::Overloaded) => atoms::overloaded(),
            Err(Refused::Closed) => atoms::not_running(),
        }
    }

    fn node_lane(&self, env: Env, node: Atom) -> LaneId {
        let known = |nodes: &[(Atom, LaneId)]| {
            nodes.iter().find(|(name, _)| *name == node).map(|(_, lane)| *lane)
        };
        if let Some(lane) = known(&self.nodes.read()) {
            return lane;
        }
        let mut nodes = self.nodes.write();
        if let Some(lane) = known(&nodes) {
            return lane;
        }
        let lane = self.outbox.add_lane();
        nodes.push((node, lane));
        self.drainers.write().resize(lane as usize + 1, None);
        drop(nodes);
        self.wake(env, Some(lane));
        lane
    }

    /// Sends one local batch. `Err`: it takes more than native code.
    fn send(&self, env: Env, mut parcel: Parcel) -> Result<(), Parcel> {
        let n = parcel.len() as u64;
        let dest = parcel.dest(env);
        let named = dest.is_atom();
        if let Some(pid) = env.whereis_pid(dest) {
            let batch = Part::Term(atoms::erlmcp_flow_batch().to_term(env));
            if parcel.send(env, &pid, &[batch, Part::Items]) {
                self.outbox.sent(1);
                self.outbox.settle(Outcome { delivered: n, ..Outcome::default() });
                self.recycle(parcel);
                return Ok(());
            }
        }
        // A name may be taken again; a dead pid does not come back.
        if named || !self.give(env, &mut parcel, atoms::noproc().to_term(env)) {
            return Err(parcel);
        }
        self.recycle(parcel);
        Ok(())
    }

    /// Hands a batch to the process that calls the callback; false when there is
    /// none just now.
    fn give<'a>(&self, env: Env<'a>, parcel: &mut Parcel, reason: Term<'a>) -> bool {
        let n = parcel.len() as u64;
        let tag = Part::Term(atoms::undelivered().to_term(env));
        let parts = [tag, Part::Dest, Part::Items, Part::Term(reason)];
        let mut undelivered = self.undelivered.lock();
        let given = undelivered.pid.is_some_and(|pid| parcel.send(env, &pid, &parts));
        if given {
            undelivered.messages += n;
        }
        given
    }
}

/// Destinations of the local lane and the sink are immediates; a word of another
/// kind says nothing, and the VM hashes the term.
fn to(dest: Term, lane: LaneId) -> To {
    let hash = match lane {
        LOCAL | SINK => mixed(terms::word::of(dest) as u64),
        _ => hash_boxed(dest),
    };
    To { hash, lane }
}

fn hash_boxed(dest: Term) -> u64 {
    mixed(dest.hash_internal(0))
}

fn mixed(word: u64) -> u64 {
    let mixed = word.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 29)
}

fn limits(size: usize, timeout_ms: u64, max_pending: u64) -> Limits {
    Limits { batch_size: size.max(1), timeout_us: timeout_ms.saturating_mul(1000), max_pending }
}

/// A new instance, under the pid of its supervisor (the caller) and its name.
#[rustler::nif]
fn outbox_new(
    env: Env,
    name: Atom,
    size: usize,
    timeout_ms: u64,
    max_pending: u64,
    direct: bool,
    sink: bool,
) -> ResourceArc<Owner> {
    let outbox = Outbox::new(limits(size, timeout_ms, max_pending));
    outbox.add_lane();
    outbox.add_lane();
    let instance = Arc::new(Instance {
        outbox,
        direct,
        sink,
        drainers: RwLock::new(vec![None; 2]),
        keeper: RwLock::default(),
        nodes: RwLock::default(),
        undelivered: Mutex::default(),
        spare: Mutex::default(),
        epoch: Instant::now(),
        quiet: AtomicU32::new(u32::MAX / 2),
    });
    let mut names = vec![env.pid().encode(env)];
    if name != rustler::types::atom::undefined() {
        names.push(name.to_term(env));
    }
    let names: Vec<Name> = names.into_iter().filter_map(Name::of).collect();
    registry::insert(&names, &instance);
    ResourceArc::new(Owner { names, instance })
}

/// Is the destination one of the local lane?
fn is_local(dest: Term) -> bool {
    dest.decode::<LocalPid>().is_ok() || dest.is_atom()
}

/// The destination `[]` is the sink. `remote`: one on another node that has no open
/// batch (the caller finds out the node, see `outbox_push_node`), or none at all.
#[rustler::nif]
fn outbox_push(env: Env, name: Term, dest: Term, message: Term) -> Atom {
    let lane = if is_local(dest) {
        LOCAL
    } else if dest.is_empty_list() {
        SINK
    } else {
        return registry::with(name, |i| i.push_open(env, dest, message))
            .unwrap_or(atoms::not_running());
    };
    registry::with(name, |i| i.push(env, lane, dest, message)).unwrap_or(atoms::not_running())
}

#[rustler::nif]
fn outbox_push_node(env: Env, name: Term, node: Atom, dest: Term, message: Term) -> Atom {
    registry::with(name, |i| i.push(env, i.node_lane(env, node), dest, message))
        .unwrap_or(atoms::not_running())
}

fn push_list(env: Env, name: Term, node: Atom, dest: Term, list: Term) -> NifResult<Atom> {
    let n = list.list_length()?;
    let pushed = registry::with(name, |i| {
        let lane = if dest.is_empty_list() {
            SINK
        } else if is_local(dest) {
            LOCAL
        } else {
            i.node_lane(env, node)
        };
        i.push_list(env, lane, dest, list, n)
    });
    Ok(pushed.unwrap_or(atoms::not_running()))
}

/// `node` is the destination's node; it only matters for one elsewhere.
#[rustler::nif]
fn outbox_push_list(env: Env, name: Term, node: Atom, dest: Term, list: Term) -> NifResult<Atom> {
    push_list(env, name, node, dest, list)
}

/// The same for long lists.
#[rustler::nif(schedule = "DirtyCpu")]
fn outbox_push_list_dirty(
    env: Env,
    name: Term,
    node: Atom,
    dest: Term,
    list: Term,
) -> NifResult<Atom> {
    push_list(env, name, node, dest, list)
}

/// The caller starts lanes.
#[rustler::nif]
fn outbox_attach_keeper(env: Env, name: Term) -> Atom {
    done(registry::with(name, |i| *i.keeper.write() = Some(env.pid())))
}

/// The caller drains this lane from now on.
#[rustler::nif]
fn outbox_attach(env: Env, name: Term, lane: LaneId) -> Atom {
    done(registry::with(name, |i| {
        if let Some(drainer) = i.drainers.write().get_mut(lane as usize) {
            *drainer = Some(env.pid());
        }
        i.outbox.attach(lane);
    }))
}

/// The caller calls the callback for undelivered messages from now on. Returns
/// how many messages its predecessor had and took along: they are settled.
#[rustler::nif]
fn outbox_attach_undelivered(env: Env, name: Term) -> u64 {
    registry::with(name, |i| {
        let mut undelivered = i.undelivered.lock();
        undelivered.pid = Some(env.pid());
        let lost = std::mem::take(&mut undelivered.messages);
        i.outbox.settle(Outcome { undelivered: lost, ..Outcome::default() });
        lost
    })
    .unwrap_or(0)
}

fn done<T>(found: Option<T>) -> Atom {
    match found {
        Some(_) => rustler::types::atom::ok(),
        None => atoms::not_running(),
    }
}

/// Microseconds on the instance's clock, for `outbox_poll`: every message accepted
/// before this call is due by the answer.
#[rustler::nif]
fn outbox_horizon(name: Term) -> u64 {
    registry::with(name, |i| i.now() + i.outbox.limits().timeout_us).unwrap_or(0)
}

/// One round of work on a lane: batches that are due (by `until`, or by now) get
/// ready, and what native code can send is sent. Answers `more`, `in_hand` (ask
/// `outbox_take`), `stuck` (nobody takes undelivered messages just now), the
/// milliseconds until the next batch is due, or `infinity`.
#[rustler::nif]
fn outbox_poll<'a>(env: Env<'a>, name: Term<'a>, lane: LaneId, until: u64) -> Term<'a> {
    registry::with(name, |i| i.poll(env, lane, until))
        .unwrap_or_else(|| atoms::infinity().to_term(env))
}

impl Instance {
    /// Under load the drainer looks a few times more before it rests: waking it for
    /// every batch would cost the senders more than that.
    fn lingers(&self, messages: usize) -> bool {
        if messages >= self.outbox.limits().batch_size {
            self.quiet.store(0, Ordering::Relaxed);
            true
        } else {
            self.quiet.fetch_add(1, Ordering::Relaxed) < schedule::OUTBOX_LINGER
        }
    }

    fn poll<'a>(&self, env: Env<'a>, lane: LaneId, until: u64) -> Term<'a> {
        let until = until.max(self.now());
        let due = self.outbox.collect(lane, until, schedule::OUTBOX_POLL_BATCHES);
        let mut messages = 0;
        if lane == LOCAL && self.direct {
            for _ in 0..schedule::OUTBOX_POLL_BATCHES {
                if messages > schedule::OUTBOX_POLL_MESSAGES {
                    break;
                }
                let Some(Pack(parcel)) = self.outbox.pop(lane) else { break };
                messages += parcel.len();
                let named = parcel.dest(env).is_atom();
                if let Err(parcel) = self.send(env, parcel) {
                    self.outbox.put_back(lane, Pack(parcel));
                    let answer = if named { atoms::in_hand() } else { atoms::stuck() };
                    return answer.to_term(env);
                }
            }
            let percent = (messages / 400).min(100) as i32;
            let _ = percent > 0 && rustler::schedule::consume_timeslice(env, percent);
        }
        if due == Due::Now || self.lingers(messages) {
            return atoms::more().to_term(env);
        }
        match self.outbox.rest(lane) {
            Due::Now if lane == LOCAL && self.direct => atoms::more().to_term(env),
            Due::Now => atoms::in_hand().to_term(env),
            Due::At(time) => time.saturating_sub(self.now()).div_ceil(1000).encode(env),
            Due::Never => atoms::infinity().to_term(env),
        }
    }
}

/// Gets batches that are due by `until` ready: `more`, or how many batches the
/// lane ever had (see `outbox_mark`).
#[rustler::nif]
fn outbox_collect<'a>(env: Env<'a>, name: Term<'a>, lane: LaneId, until: u64) -> Term<'a> {
    registry::with(name, |i| match i.outbox.collect(lane, until, schedule::OUTBOX_POLL_BATCHES) {
        Due::Now => atoms::more().to_term(env),
        _ => i.outbox.mark(lane).0.encode(env),
    })
    .unwrap_or_else(|| 0.encode(env))
}

/// `{Appended, Taken}`, how many batches ever: once Taken reaches the Appended of
/// today, all of today's are out.
#[rustler::nif]
fn outbox_mark(name: Term, lane: LaneId) -> (u64, u64) {
    registry::with(name, |i| i.outbox.mark(lane)).unwrap_or((0, 0))
}

fn take<'a>(env: Env<'a>, name: Term<'a>, lane: LaneId, max: usize) -> Term<'a> {
    let taken = registry::with(name, |i| {
        i.outbox.take(lane, |taken| {
            let parcel = &mut taken.batch.0;
            if parcel.len() > max {
                return atoms::long().to_term(env);
            }
            (taken.id, parcel.dest(env), parcel.items(env)).encode(env)
        })
    });
    taken.flatten().unwrap_or_else(|| atoms::empty().to_term(env))
}

/// `{Id, Dest, Messages}` of the oldest ready batch, copied; it stays in hand.
/// `long`: ask for it by `outbox_take_dirty`.
#[rustler::nif]
fn outbox_take<'a>(env: Env<'a>, name: Term<'a>, lane: LaneId) -> Term<'a> {
    take(env, name, lane, schedule::OUTBOX_TAKE_MESSAGES)
}

/// The same where a batch may be long.
#[rustler::nif(schedule = "DirtyCpu")]
fn outbox_take_dirty<'a>(env: Env<'a>, name: Term<'a>, lane: LaneId) -> Term<'a> {
    take(env, name, lane, usize::MAX)
}

/// The batch in hand is done with: so many were delivered, so many attempts were
/// made beyond the first. The others were handed on (`outbox_hand`).
#[rustler::nif]
fn outbox_done(name: Term, lane: LaneId, delivered: u64, retries: u64) -> Atom {
    let outcome = Outcome { delivered, retries, ..Outcome::default() };
    done(registry::with(name, |i| i.outbox.done(lane, outcome)))
}

/// The batch in hand was sent and waits for its acknowledgement.
#[rustler::nif]
fn outbox_keep(name: Term, lane: LaneId) -> Atom {
    done(registry::with(name, |i| i.outbox.keep(lane)))
}

#[rustler::nif]
fn outbox_ack(name: Term, id: u64) -> Atom {
    match registry::with(name, |i| i.outbox.ack(id)) {
        Some(true) => rustler::types::atom::ok(),
        Some(false) => atoms::unknown(),
        None => atoms::not_running(),
    }
}

/// The receiver of an unacknowledged batch is gone: the messages are undelivered.
/// `stuck`: nobody takes them just now. `unknown`: acknowledged already.
#[rustler::nif]
fn outbox_give_up<'a>(env: Env<'a>, name: Term<'a>, id: u64, reason: Term<'a>) -> Atom {
    registry::with(name, |i| match i.outbox.give_up(id) {
        Some(mut pack) => {
            if i.give(env, &mut pack.0, reason) {
                rustler::types::atom::ok()
            } else {
                i.outbox.restore(id, pack);
                atoms::stuck()
            }
        }
        None => atoms::unknown(),
    })
    .unwrap_or(atoms::not_running())
}

/// Which of these batches are still unacknowledged.
#[rustler::nif]
fn outbox_still(name: Term, ids: Vec<u64>) -> Vec<u64> {
    registry::with(name, |i| i.outbox.still(ids)).unwrap_or_default()
}

/// Hands `n` messages, in the term `what`, to the process that calls the callback.
#[rustler::nif]
fn outbox_hand(env: Env, name: Term, n: u64, what: Term) -> Atom {
    registry::with(name, |i| {
        let mut undelivered = i.undelivered.lock();
        let handed = undelivered.pid.is_some_and(|pid| env.send(&pid, what).is_ok());
        if handed {
            undelivered.messages += n;
            rustler::types::atom::ok()
        } else {
            atoms::stuck()
        }
    })
    .unwrap_or(atoms::not_running())
}

/// The caller has called the callback for `n` messages; so many calls failed.
#[rustler::nif]
fn outbox_settle_undelivered(env: Env, name: Term, n: u64, crashes: u64) -> Atom {
    done(registry::with(name, |i| {
        let mut undelivered = i.undelivered.lock();
        if undelivered.pid == Some(env.pid()) {
            undelivered.messages = undelivered.messages.saturating_sub(n);
            i.outbox.settle(Outcome { undelivered: n, crashes, ..Outcome::default() });
        }
    }))
}

/// `[{Lane, Node | [] , Pid | undefined}]`
#[rustler::nif]
fn outbox_lanes<'a>(env: Env<'a>, name: Term<'a>) -> Vec<(LaneId, Term<'a>, Term<'a>)> {
    registry::with(name, |i| {
        let nodes = i.nodes.read();
        let drainers = i.drainers.read();
        let lane = |(id, pid): (usize, &Option<LocalPid>)| {
            let id = id as LaneId;
            let node = nodes.iter().find(|(_, lane)| *lane == id);
            (
                id,
                node.map_or(Term::list_new_empty(env), |(node, _)| node.to_term(env)),
                pid.map_or_else(
                    || rustler::types::atom::undefined().to_term(env),
                    |pid| pid.encode(env),
                ),
            )
        };
        drainers.iter().enumerate().map(lane).collect()
    })
    .unwrap_or_default()
}

/// `{Accepted, Delivered, Undelivered, Overloaded, Batches, Retries, Pending, Unacked,
/// Crashes}`
#[rustler::nif]
fn outbox_stats<'a>(env: Env<'a>, name: Term<'a>) -> Term<'a> {
    registry::with(name, |i| {
        let c = i.outbox.counts();
        let counts = [
            c.accepted,
            c.delivered,
            c.undelivered,
            c.overloaded,
            c.batches,
            c.retries,
            c.pending,
            c.unacked,
            c.crashes,
        ];
        counts.as_slice().encode(env)
    })
    .unwrap_or_else(|| atoms::not_running().to_term(env))
}
