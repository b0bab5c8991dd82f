//! Numbers that must not be mistaken for each other.

/// Declares a number with a meaning of its own: a newtype of `u64` that is compared, shown and serialised as that number. Its
/// user needs `serde` among its dependencies.
#[macro_export]
macro_rules! number {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl ::core::fmt::Display for $name {
            fn fmt(&self, formatter: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl $name {
            /// The next one. Of the largest, which only a message that makes no sense can name, itself.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }
    };
}

number! {
    /// A server of the cluster; never 0.
    NodeId
}
number! {
    /// A term: at most one leader each. 0 before the first election.
    Term
}
number! {
    /// Position in the log, from 1; 0 is "before the log".
    LogIndex
}
number! {
    /// Names a proposal or read of the driver. The driver chooses it and never uses one twice in the life of a node.
    Token
}
number! {
    /// Numbers the [`crate::PersistBatch`]es of a node's life, from 1, without gaps.
    Sequence
}
