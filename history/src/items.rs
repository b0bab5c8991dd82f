//! [`Items`]: the elements of a collection, that many hold at once.

use std::fmt;
use std::ops::Deref;

use triomphe::ThinArc;

/// Elements that never change, in order. One word, so that a [`Value`](crate::Value) is two; to clone it, however many they are, is to
/// count one more who holds them. It is made in one allocation of the right size from anything that knows its length.
pub struct Items<T>(ThinArc<(), T>);

impl<T> Items<T> {
    /// The elements that `elements` gives.
    pub fn of<I>(elements: I) -> Items<T>
    where
        I: IntoIterator<Item = T>,
        I::IntoIter: ExactSizeIterator,
    {
        Items(ThinArc::from_header_and_iter((), elements.into_iter()))
    }
}

impl<T> Deref for Items<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0.slice
    }
}

impl<T> Clone for Items<T> {
    fn clone(&self) -> Items<T> {
        Items(self.0.clone())
    }
}

impl<T> From<Vec<T>> for Items<T> {
    fn from(elements: Vec<T>) -> Items<T> {
        Items::of(elements)
    }
}

impl<T, const N: usize> From<[T; N]> for Items<T> {
    fn from(elements: [T; N]) -> Items<T> {
        Items::of(elements)
    }
}

impl<T> FromIterator<T> for Items<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Items<T> {
        elements.into_iter().collect::<Vec<T>>().into()
    }
}

impl<'i, T> IntoIterator for &'i Items<T> {
    type Item = &'i T;
    type IntoIter = std::slice::Iter<'i, T>;

    fn into_iter(self) -> std::slice::Iter<'i, T> {
        self.iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for Items<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, formatter)
    }
}
