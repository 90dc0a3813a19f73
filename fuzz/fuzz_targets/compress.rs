#![no_main]
//! Writing every format at every level and reading it back, and the limit on
//! what is written.

use codec::compress::{self, Algorithm, Error};
use erlmcp_flow_fuzz as fuzz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: fuzz::seeds(|| {
        fuzz::contents()
            .iter()
            .enumerate()
            .map(|(i, content)| fuzz::with_limit(i as u16, content))
            .collect()
    }),
    |data: &[u8]| {
        let Some((choice, content)) = data.split_first() else { return };
        let algorithm = [Algorithm::Zlib, Algorithm::Lz4, Algorithm::Zstd][usize::from(choice % 3)];
        let level = Some(choice / 3).filter(|level| *level < 20);
        let packed: Vec<u8> =
            compress::compress(algorithm, content, level, usize::MAX).expect("it has the room");
        assert_eq!(Algorithm::detect(&packed), Ok(algorithm));
        let back: Result<Vec<u8>, Error> =
            compress::decompress(algorithm, &packed, content.len());
        assert_eq!(back.as_deref(), Ok(content));
        assert_eq!(
            compress::compress::<Vec<u8>>(algorithm, content, level, packed.len()).as_ref(),
            Ok(&packed)
        );
        assert_eq!(
            compress::compress::<Vec<u8>>(algorithm, content, level, packed.len() - 1),
            Err(Error::TooLarge)
        );
    }
);
