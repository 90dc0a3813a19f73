#![no_main]
//! Reading batches: bounded, and what is read can be written and read again.

use codec::batch::{self, Error, Limits};
use erlmcp_flow_fuzz as fuzz;
use erlmcp_flow_fuzz::terms::Terms;
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits { max_bytes: 1 << 20, safe: true, max_work: u64::MAX };

fuzz_target!(
    init: fuzz::seeds(seeds),
    |input: &[u8]| {
        let mut terms = Terms::default();
        let list = match batch::decode(input, &mut terms, &LIMITS) {
            Ok(list) => list,
            Err(Error::Busy) => panic!("busy without a limit on the work"),
            Err(Error::Invalid(at)) => return assert!(at <= input.len()),
            Err(_) => return,
        };
        assert!(terms.made <= LIMITS.max_bytes, "{} bytes", terms.made);
        let less = Limits { max_work: 100, ..LIMITS };
        match batch::decode(input, &mut Terms::default(), &less) {
            Ok(_) | Err(Error::Busy) => {}
            Err(error) => panic!("{error:?} where there is less work to do"),
        }
        let written = batch::encode(&&terms, list, u64::MAX).expect("no limit");
        let generous = Limits { max_bytes: u64::MAX, ..LIMITS };
        match batch::decode(&written, &mut terms, &generous) {
            Ok(again) => assert_eq!(again, list),
            Err(error) => panic!("{error:?} reading what was written: {written:?}"),
        }
    }
);

/// Batches of 1 to 50 messages.
fn seeds() -> Vec<Vec<u8>> {
    let messages = fuzz::documents();
    [1, 2, 5, 20, 50]
        .iter()
        .flat_map(|count| messages.chunks(*count).take(8))
        .map(fuzz::terms::batch_of)
        .collect()
}
