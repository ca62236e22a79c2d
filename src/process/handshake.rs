//! The first words of a connection.
//!
//! The parent says [`Hello`] with the descriptors that a worker needs, the worker answers
//! [`Welcome`]. Both name the protocol, a number that only this parent knows, and the program.
//! Promises: neither side goes on with a stranger, another version or another program.
//! Does not know: how long to wait.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::confine::Confinement;
use crate::sys::module::{self, BuildId};

/// A number that tells one start of one worker from everything else.
pub(crate) type Nonce = u64;

const MAGIC: u32 = 0x524E_50C1;
const VERSION: u32 = 4;

/// From the parent, with descriptors: its pidfd, its standard error, and for a worker the memory of
/// the connection, which is the parent's ring, the worker's, and the pulse. A fork server gets a word
/// instead, for the numbers of the workers that it makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    magic: u32,
    version: u32,
    nonce: Nonce,
    program: Option<BuildId>,
    pub(super) role: Role,
    pub(crate) slot: u32,
    pub(crate) generation: u32,
    /// There are more CPUs than workers: looking for a message may be cheaper than sleeping.
    pub(crate) spins: bool,
    /// What the worker is to give up first.
    pub(super) confinement: Option<Confinement>,
}

/// Room for any message between a pool and a process that is not at work yet.
pub(crate) const MESSAGE: usize = 32 << 10;

/// What a process is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    Worker,
    ForkServer,
}

/// From the worker or server, when it is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    magic: u32,
    version: u32,
    nonce: Nonce,
    program: Option<BuildId>,
    /// Why the worker is not ready after all, in the words of the floors above.
    pub(crate) obstacle: Option<Vec<u8>>,
}

impl Hello {
    pub(crate) fn new(nonce: Nonce, slot: u32, generation: u32, spins: bool) -> Self {
        let (program, role) = (module::program_build_id(), Role::Worker);
        let (magic, version, confinement) = (MAGIC, VERSION, None);
        Hello { magic, version, nonce, program, role, slot, generation, spins, confinement }
    }

    /// The same for a worker that is not trusted.
    pub(crate) fn confined(self, confinement: Option<Confinement>) -> Self {
        Hello { confinement, ..self }
    }

    /// For a fork server, which has no place among the workers.
    pub(super) fn to_server(nonce: Nonce) -> Self {
        Hello { role: Role::ForkServer, ..Hello::new(nonce, 0, 0, false) }
    }
}

impl Welcome {
    /// The answer of a worker that was told this number in its environment, and whether something hinders
    /// it.
    pub(super) fn to(nonce: Nonce, obstacle: Option<Vec<u8>>) -> Self {
        let (magic, version, program) = (MAGIC, VERSION, module::program_build_id());
        Welcome { magic, version, nonce, program, obstacle }
    }
}

/// Whether question and answer are of one protocol, one start and one program.
pub(crate) fn fits(hello: &Hello, welcome: &Welcome) -> bool {
    let expected = (MAGIC, VERSION, hello.nonce, hello.program);
    (hello.magic, hello.version, hello.nonce, hello.program) == expected
        && (welcome.magic, welcome.version, welcome.nonce, welcome.program) == expected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_of_the_same_program_fits() {
        let hello = Hello::new(9, 0, 1, false);
        assert!(fits(&hello, &Welcome::to(9, None)));
    }

    #[test]
    fn another_number_version_or_program_does_not_fit() {
        let hello = Hello::new(9, 0, 1, false);
        assert!(!fits(&hello, &Welcome::to(8, None)));
        assert!(!fits(&Hello { version: VERSION + 1, ..hello.clone() }, &Welcome::to(9, None)));
        assert!(!fits(&Hello { magic: 0, ..hello.clone() }, &Welcome::to(9, None)));
        assert!(!fits(&Hello { program: Some([7; 20]), ..hello }, &Welcome::to(9, None)));
    }
}
