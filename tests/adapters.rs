//! Bridges to other crates: frames over ipc-channel, memory with a name.
