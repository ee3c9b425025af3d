//! The words that recognising a graph and computing its nodes share.

mod node;

pub use node::Node;
