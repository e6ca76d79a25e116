//!

pub mod view;
