//! Everything that talks to the kernel below the standard library, and the only place with
//! `unsafe`.
//!
//! - [`ring`]: an io_uring of our own for all sockets of a shard.
//! - [`executor`]: how that ring lives inside a glommio executor without starving it.
//! - [`socket`]: listeners and socket options.
//! - [`waker`]: how one shard wakes another.
//! - [`mapped`]: files in memory that outlive the process.
//! - [`machine`]: limits and file systems.
//! - [`own`]: whose a connection over loopback is.
//! - [`process`]: child processes.
//! - [`scheduling`]: processor time, and who is kept from it.
//! - [`probe`]: what the machine must offer, checked before anything starts.
//!
//! All that is public here is safe to call, whatever the arguments.
#![allow(unsafe_code)]

pub mod executor;
pub mod machine;
pub mod mapped;
pub mod own;
pub mod probe;
pub mod process;
pub mod ring;
pub mod scheduling;
pub mod socket;
pub mod waker;
