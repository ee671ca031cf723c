//! What the offline tools (`replay`, `copy`, `verify`) share: reaching a cluster, judging its
//! errors, keeping a rate, ending when told to.

pub(crate) mod connect;
pub mod doors;
pub(crate) mod pace;
pub(crate) mod stop;
pub mod tls;
pub(crate) mod verdict;
