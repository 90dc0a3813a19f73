//! Numbers: text to the term format.

use super::decode::Reader;
use super::{integer, MAX_DIGITS};
use crate::document::{etf, Budget, Cost, Fault};

impl Reader<'_> {
    /// The number the reader stands on: a digit or a minus.
    #[inline]
    pub(super) fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let negative = self.byte() == Some(b'-');
        self.at += usize::from(negative);
        let first = self.at;
        let mut n = 0u64;
        while let Some(d) = self.digit() {
            // Wraps beyond 19 digits, and then is not used.
            n = n.wrapping_mul(10).wrapping_add(d);
            self.at += 1;
        }
        let digits = self.at - first;
        if digits == 0 {
            return Err(Fault::Invalid);
        }
        if digits > 1 && self.input.get(first) == Some(&b'0') {
            // No leading zeros: the digit behind the zero is the one too many.
            self.at = first + 1;
            return Err(Fault::Invalid);
        }
        if matches!(self.byte(), Some(b'.' | b'e' | b'E')) {
            return self.float(start);
        }
        if digits > 19 {
            return self.big(negative, first);
        }
        if n >= Cost::IMMEDIATE {
            self.charge(Cost::BIG + 8)?;
            etf::magnitude(&mut self.out, negative, n);
        } else {
            let n = n as i64;
            etf::integer(&mut self.out, if negative { -n } else { n });
        }
        Ok(())
    }

    #[inline]
    fn digit(&self) -> Option<u64> {
        self.byte().map(|b| u64::from(b.wrapping_sub(b'0'))).filter(|d| *d < 10)
    }

    fn big(&mut self, negative: bool, first: usize) -> Result<(), Fault> {
        let digits = self.input.get(first..self.at).unwrap_or_default();
        if digits.len() > MAX_DIGITS {
            return Err(Fault::TooLarge);
        }
        self.budget.add(Budget::digits(digits.len()));
        self.budget.check(self.at)?;
        let limbs = integer::from_digits(digits);
        self.charge(Cost::BIG + 8 * limbs.len())?;
        etf::big(&mut self.out, negative, &limbs);
        Ok(())
    }

    /// A number with a fraction or an exponent; the reader stands on that.
    fn float(&mut self, start: usize) -> Result<(), Fault> {
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.budget.add(Budget::FLOAT);
        let text = self.input.get(start..self.at).unwrap_or_default();
        let text = std::str::from_utf8(text).unwrap_or_default();
        match text.parse::<f64>() {
            Ok(f) if f.is_finite() => {
                self.charge(Cost::FLOAT)?;
                etf::float(&mut self.out, f);
                Ok(())
            }
            // Erlang has no infinity to stand for it.
            _ => {
                self.at = start;
                Err(Fault::Invalid)
            }
        }
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.digit().is_some() {
            self.at += 1;
        }
        if self.at == start {
            return Err(Fault::Invalid);
        }
        Ok(())
    }
}
