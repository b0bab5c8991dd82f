//! The interpreter: asks a generator for operations, carries them out with clients, and records what happened.
