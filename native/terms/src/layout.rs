//! May the maps of this VM be read where they lie?
//!
//! `walk::Reader::flat` knows more than the NIF interface tells: it reads the keys and
//! values of a flat map through the pointers in its iterator. It only reads, and only
//! after it saw that the pointers lead into this very map. But how maps lie in memory
//! is the VM's own affair and may change with any release, so
//!
//! * it is done only on OTP releases of [`TRIED`], in the optimized emulator (others
//!   have a smaller flat map limit, and more checks of their own). The stub module
//!   says at load what it runs on; before that, and anywhere else, maps are read with
//!   the calls of the map iterator;
//! * a release is put on the list when the serializer's tests passed on it, which run
//!   both ways (`erlmcp_flow_nif:plain_maps/1`);
//! * patches of a release are not told apart. That one changes the layout is unlikely,
//!   not impossible: that is what the look at the pointers is for.

use std::sync::atomic::{AtomicU8, Ordering};

/// OTP releases on which the tests ran.
const TRIED: &[&str] = &["25"];

const UNKNOWN: u8 = 0;
const IN_PLACE: u8 = 1;
/// As [`IN_PLACE`], but turned off.
const TURNED_OFF: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Told once, when the library is loaded: `system_info(otp_release)` and
/// `system_info(build_type)`.
pub fn loaded_into(otp_release: &str, build_type: &str) {
    if is_known(otp_release, build_type) {
        // Not over a switch that was turned off before a reload.
        let _ = STATE.compare_exchange(UNKNOWN, IN_PLACE, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn is_known(otp_release: &str, build_type: &str) -> bool {
    cfg!(target_pointer_width = "64") && build_type == "opt" && TRIED.contains(&otp_release)
}

/// Whether maps are read in place.
#[inline(always)]
pub(crate) fn in_place() -> bool {
    STATE.load(Ordering::Relaxed) == IN_PLACE
}

/// Turns it off, or on again where it may be on. Gives whether it is on now. Calls
/// that run meanwhile go on as they began.
pub fn set_plain(plain: bool) -> bool {
    let (from, to) = if plain { (IN_PLACE, TURNED_OFF) } else { (TURNED_OFF, IN_PLACE) };
    let _ = STATE.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    in_place()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_tried() {
        assert!(is_known("25", "opt"));
        assert!(!is_known("25", "debug"));
        for other in ["", "2", "24", "250", "99"] {
            assert!(!is_known(other, "opt"), "{other}");
        }
    }

    #[test]
    fn off_until_told_and_never_turned_on_elsewhere() {
        assert!(!in_place());
        loaded_into("99", "opt");
        assert!(!set_plain(true));
        assert!(!set_plain(false));
        loaded_into("25", "opt");
        assert!(in_place());
        assert!(!set_plain(true));
        loaded_into("25", "opt");
        assert!(!in_place());
        assert!(set_plain(false));
    }
}
