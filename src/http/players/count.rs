//! Counted places, in total and by address: of listeners, and of requests that wait.
//!
//! **Invariant**: an address is known as long as it has a place, so the map is bounded by the total.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::IntGauge;

use crate::transport::counted_address;

pub(super) struct Counts {
    max: usize,
    max_per_address: usize,
    // Locked for one look-up.
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A counted place; its drop gives it back.
pub(super) struct Counted {
    counts: Arc<Counts>,
    address: IpAddr,
    gauge: IntGauge,
}

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Total,
    Address,
}

impl Counts {
    pub(super) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            taken: Mutex::default(),
        })
    }

    /// Takes a place, which is part of this gauge.
    pub(super) fn take(
        self: &Arc<Self>,
        address: IpAddr,
        gauge: &IntGauge,
    ) -> Result<Counted, Limit> {
        let address = counted_address(address);
        let mut taken = self.taken.lock();
        if taken.total >= self.max {
            return Err(Limit::Total);
        }
        let here = taken.by_address.get(&address).copied().unwrap_or(0);
        if here >= self.max_per_address {
            return Err(Limit::Address);
        }
        taken.by_address.insert(address, here + 1);
        taken.total += 1;
        gauge.inc();
        Ok(Counted {
            counts: self.clone(),
            address,
            gauge: gauge.clone(),
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut taken = self.counts.taken.lock();
        taken.total -= 1;
        if let Some(here) = taken.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
        self.gauge.dec();
    }
}
