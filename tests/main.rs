//! The integration tests: one binary, one cluster.

fn main() {}
