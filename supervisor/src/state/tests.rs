//! Pure: the machine of a supervisor against tables that were written apart from it, in a world that does what it says.
mod matrix;
mod random;
mod scenes;
mod world;
